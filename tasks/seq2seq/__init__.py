"""The attentional encoder–decoder and its search, shared by translation and summarization."""

from tasks._registry import Config
from tasks.checks import counted


def setting(config: Config) -> str:
    """What was chosen of an encoder–decoder and its training, in one line."""
    task, optim = config["task"], config["optim"]
    text, model, batches = task["text"], task["model"], task["batches"]
    direction = "bidirectional " if model["bidirectional"] else ""
    feeding = ", input feeding" if model["input_feed"] else ""
    chosen = [
        f"up to {text['vocab_size']:,} {text['tokenizer']}",
        f"{model['layers']}-layer {direction}{model['cell']} {model['hidden_size']}{feeding}",
        f"batch {batches['size']} {batches['count']}",
        f"{optim['_target_'].rpartition('.')[2]} lr {optim['lr']:g}",
        f"dropout {model['dropout']:g}",
        counted(config["trainer"]["epochs"], "epoch"),
        f"beam {task['search']['beam_size']}",
    ]
    return ", ".join(chosen)
