"""What a person sees of a run: a bar on a terminal, plain lines in a file."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TextIO


class Progress:
    """Shows the records of metrics.jsonl as they come. `stream` None is silent."""

    def __init__(self, steps: int, stream: TextIO | None):
        self.steps, self.stream = steps, stream
        self._floor = ""
        self._bar = _bar(steps, stream) if stream is not None and stream.isatty() else None

    def show(self, record: Mapping[str, Any]) -> None:
        if record["kind"] == "monitor":
            self._floor = _against_best(record)
            self.say(f"step {record['step']}/{self.steps}  on the monitor: {_monitored(record)}")
            return
        eta = timedelta(seconds=round(record["eta_s"]))
        text = f"loss {record['loss']:.4f}{self._floor}  {record['samples_per_s']:.0f} samples/s  ETA {eta}"
        if self._bar is None:
            self.say(f"step {record['step']}/{self.steps}  {text}")
        else:
            self._bar.update(self._bar.task_ids[0], completed=record["step"], text=text)

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self.stream is not None:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(steps: int, stream: TextIO):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        MofNCompleteColumn(), BarColumn(bar_width=20), TextColumn("{task.fields[text]}"), console=Console(file=stream)
    )
    bar.add_task("steps", total=steps, text="")
    bar.start()
    return bar


def _monitored(record: Mapping[str, Any]) -> str:
    parts = []
    for name, loss in record["losses"].items():
        floors = record.get("baselines", {}).get(name, {})
        beside = ", ".join(f"{kind} {value:.4f}" for kind, value in floors.items())
        parts.append(f"{name} {loss:.4f}" + (f" ({beside})" if beside else ""))
    return "; ".join(parts)


def _against_best(record: Mapping[str, Any]) -> str:
    """The first loss over that of its best baseline, both on the monitor's frames."""
    for name, loss in record["losses"].items():
        floors = record.get("baselines", {}).get(name, {})
        best = min(floors, key=lambda kind: floors[kind], default=None)
        if best is not None and floors[best] > 0:
            return f" (on the monitor {loss / floors[best]:.2f} of the best baseline, {best})"
    return ""
