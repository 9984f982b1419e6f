"""Nothing in the tree runs what a file or a stranger says: not the code, the configs or the shell scripts."""

import ast
import re

from scripts.runs.config import targets
from tests.exhaustive import Measure
from tests.unsafe import CODE, ROOT, unsafe, unsafe_shell

SHELL = [ROOT / "Makefile", ROOT / ".ci" / "run", *sorted((ROOT / "docs").rglob("*.sbatch"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_no_code_does(measure: Measure) -> None:
    found = {path: list(unsafe(ast.parse(path.read_text(encoding="utf-8")))) for path in CODE}
    measure("unsafe loading").add(len(found), failures=sum(map(bool, found.values())))
    assert not {str(path.relative_to(ROOT)): names for path, names in found.items() if names}


def test_no_shell_script_does() -> None:
    found = {path: unsafe_shell(path.read_text(encoding="utf-8")) for path in SHELL}
    assert not {str(path.relative_to(ROOT)): lines for path, lines in found.items() if lines}


def test_configs_name_nothing_but_what_they_may_make() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in CONFIGS)
    named = re.findall(r"_target_.*?[:=] *(\S+)", text)
    assert named and set(named) <= set().union(*targets().values())
    assert "!!" not in text  # YAML's tag of an object


UNSAFE = [
    "torch.load(f)",
    "torch.load(f, weights_only=False)",
    "torch.load(f, weights_only=flag)",
    "torch.load(f, **options)",
    "from torch import load as read; read(f)",
    "map(torch.load, files)",
    "torch.jit.load(f)",
    "torch.hub.load(name, model)",
    "torch.serialization.add_safe_globals([C])",
    "pickle.load(f)",
    "pickle.loads(b)",
    "pickle.loads(cloudpickle.dumps(x))",
    "pickle.Unpickler(f).load()",
    "import pickle as p; p.load(f)",
    "from pickle import loads; loads(b)",
    "cloudpickle.loads(b)",
    "dill.load(f)",
    "joblib.load(f)",
    "marshal.loads(b)",
    "shelve.open(f)",
    "pandas.read_pickle(f)",
    "eval(text)",
    "exec(text)",
    "compile(text, name, 'exec')",
    "__import__(name)",
    "importlib.import_module(name)",
    "importlib.import_module(f'{name}')",
    "importlib.import_module(f'regattn{name}')",
    "from importlib import import_module; import_module(config.module)",
    "runpy.run_path(f)",
    "yaml.load(f)",
    "yaml.load(f, Loader=yaml.FullLoader)",
    "yaml.full_load(f)",
    "yaml.unsafe_load(f)",
    "from yaml import unsafe_load_all as read; read(f)",
    "parse(f, loader=yaml.UnsafeLoader)",
    "load_dataset(name, trust_remote_code=True)",
    "subprocess.run(command, shell=True)",
    "subprocess.run('ls ' + folder)",
    "subprocess.check_output(f'ls {folder}')",
    "from subprocess import Popen; Popen('ls')",
    "subprocess.getoutput(command)",
    "os.system(command)",
    "os.popen(command)",
    "np.load(f, allow_pickle=True)",
    "tarfile.open(f).extractall(folder)",
    "tarfile.open(f).extractall(folder, filter='fully_trusted')",
    "zipfile.ZipFile(f).extractall(folder)",
    "archive.extract(member)",
    "shutil.unpack_archive(f)",
    "hydra.utils.instantiate(json.load(f))",
    "from hydra.utils import instantiate; instantiate({'_target_': name})",
    "from hydra.utils import instantiate; instantiate({**options, **config.data})",
    "from hydra.utils import get_method; get_method(name)",
]


def test_scan_sees_every_unsafe_form() -> None:
    assert not [text for text in UNSAFE if not list(unsafe(ast.parse(text)))]


SAFE = [
    "torch.load(f, weights_only=True)",
    "json.load(f)",
    "model.eval()",
    "torch.compile(f); re.compile(text)",
    "yaml.safe_load(f)",
    "pickle.loads(pickle.dumps(model))",
    "np.load(f, allow_pickle=False)",
    "subprocess.run(['ls', folder])",
    "importlib.import_module('torch._dynamo')",
    "importlib.import_module(f'regattn.kernels.{folder}')",
    "from hydra.utils import instantiate; instantiate({'_target_': 'tasks.A', **config.optim})",
]


def test_scan_lets_safe_forms_pass() -> None:
    assert not [text for text in SAFE if list(unsafe(ast.parse(text)))]


UNSAFE_SHELL = ['eval "$x"', "\tcurl https://a | tar x", "@wget -q a", ". a; source b", "cat a | sh"]


def test_scan_sees_unsafe_shell() -> None:
    assert not [line for line in UNSAFE_SHELL if not unsafe_shell(line)]
    assert not unsafe_shell("make evaluate RUN=a | sort; bash -n a")
