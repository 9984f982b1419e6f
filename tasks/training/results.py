"""What a finished run leaves for tables and figures: its details, and then the record that points at them."""

from dataclasses import replace
from pathlib import Path

from tasks.training.details import Details, read_details, write_details
from tasks.training.records import Record, RecordError, find_record, write_record


def write_results(results: Path, record: Record, details: Details) -> Record:
    """Write the details and the record of a finished run, and return the record that is there then.

    Interrupted at any point this leaves no record, or one whose details are there. A run that has a record
    with the same outcome keeps it, and its details.

    Args:
        results: gets ``runs/<id>.json`` and ``details/<id>.json``.
        record: of the run; which details are its own is filled in.
        details: of the run.

    Raises:
        RecordError: a record with another outcome has the name.
        OSError: the file system refuses.
    """
    if find_record(results / "runs", record.id) is None:
        record = replace(record, details=write_details(results / "details", details))
    write_record(results / "runs", record)
    found = find_record(results / "runs", record.id)
    assert found is not None
    return found


def has_details(results: Path, record: Record) -> bool:
    """Whether the details that a record points at are there and whole."""
    try:
        read_details(results / "details", record.id, record.details)
    except RecordError:
        return False
    return True
