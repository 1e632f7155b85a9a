"""The moments at which a run becomes provable: when its cases are committed to, and when it is sealed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from game.dealing.master import Master
from game.proof import seal
from game.runs.database import StoreError, transaction
from game.runs.run_folder import MASTER, SEAL, artefact_path, read_key, sweep, transcript_path
from game.runs.store import RunInfo, Store
from models.checkpoints import write_atomically


def master_of(store: Store) -> Master:
    """What a run's cases are drawn from; a rated run's was drawn when the run was made.

    Raises:
        StoreError: It was a secret and is lost, or is not the one that was committed to.
    """
    run = store.run()
    if run.master is not None:
        key = bytes.fromhex(run.master)
    else:
        key = _secret(store) if run.rated else Master.of_seed(run.seed).key
    if run.master_hash not in (None, seal.master_hash(key)):
        raise StoreError(f"{store.folder}: its master is not the one that was committed to")
    return Master(key, run.new_worlds)


def commit(store: Store, parts: Sequence[str]) -> RunInfo:
    """Commit to every case that was dealt, to the master and to the rules of scoring, before any round.

    Args:
        store: Of a run whose cases are all dealt.
        parts: Of the headline.

    Returns:
        The run with what there is to publish.
    """
    master, connection = master_of(store), store.connection
    with transaction(connection):
        cases = connection.execute("SELECT * FROM cases ORDER BY id").fetchall()
        found = {case["id"]: seal.commitment(master.nonce("commit", case["id"]), case) for case in cases}
        for case_id, each in found.items():
            connection.execute("UPDATE cases SET commitment = ? WHERE id = ?", (each, case_id))
        rules = (seal.master_hash(master.key), seal.scoring_rules(parts))
        connection.execute("UPDATE run SET master_hash = ?, scoring = ?", rules)
        digest = seal.commitments_digest(connection.execute("SELECT * FROM run").fetchone(), found)
        connection.execute("UPDATE run SET commitments = ?", (digest,))
    return store.run()


def seal_run(store: Store) -> str:
    """Reveal the master and seal the folder; the head to publish. Killed meanwhile, call it again.

    Raises:
        StoreError: Another process reads the run at this moment.
        OSError: The folder cannot be written to.
    """
    folder, run, key = store.folder, store.run(), master_of(store).key.hex()
    head = seal.head(store.last_round()[1], vars(run) | {"master": key})
    with transaction(store.connection):
        revealed = "UPDATE run SET state = 'finished', master = ?, head = ?"
        store.connection.execute(revealed, (key, head))
    if store.connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
        raise StoreError(f"{folder}: another process reads this run; the same command seals it later")
    (folder / MASTER).unlink(missing_ok=True)  # revealed, and on disk by now
    sweep(folder, _files(store))
    write_atomically(folder / SEAL, seal.seal_text(folder, run.commitments or seal.UNSEALED, head))
    return head


def _secret(store: Store) -> bytes:
    try:
        return read_key(store.folder)
    except (OSError, ValueError) as error:
        lost = f"{store.folder / MASTER}: {error}"
        raise StoreError(f"{lost}; without it this run cannot go on: delete its folder") from error


def _files(store: Store) -> Iterator[Path]:
    """The models and transcripts that the rows name."""
    for case in store.cases():
        yield from (artefact_path(store.folder, sha) for sha in (case.artefact, *case.companions))
    yield from (transcript_path(store.folder, key) for key in store.done())
