"""One training run within a budget of time or of steps: averaged weights, optimiser, clock, log, checkpoint.

The learning rate follows the share of the budget that is spent, so a run always ends annealed, whatever the machine's
speed. A killed run resumes from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pose2d.console.progress import Meter, meter, say
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path, write_json
from pose2d.files.torch_files import read_torch_file

_EMA_EVERY = 4

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Schedule:
    """Budget and optimiser of a run.

    Attributes:
        minutes: budget of time; the learning rate's schedule spans it.
        steps: budget of optimiser steps in place of time.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, of parameters with two axes or more.
        warmup: share of the budget in which the learning rate rises.
        ema: decay of the averaged weights per step.
        largest_norm: gradients are scaled down to this norm; None leaves them.
    """

    minutes: float
    steps: int | None
    lr: float
    weight_decay: float
    warmup: float
    ema: float
    largest_norm: float | None = None


class TrainingRun(Generic[Network]):
    """Network, averaged network, optimiser and clock of one run.

    Args:
        network: to train, in place; parameters that need no gradient are left alone.
        schedule: budget and optimiser.
        out: directory of the run's files.
        name: what they begin with.
    """

    def __init__(self, network: Network, schedule: Schedule, out: Path, name: str) -> None:
        self.network: Network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Network = copy.deepcopy(self.network).eval()
        self.schedule = schedule
        self.weights_file = out / f"{name}.safetensors"
        self.state_file = out / f"{name}.state.pt"
        self.log_file = out / f"{name}.log.jsonl"
        self.config_file = out / f"{name}.config.json"
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=schedule.lr, fused=True)
        self.step = 0
        self._before, self._start = 0.0, time.monotonic()
        self._last: dict[str, float] = {}
        self._meter = Meter(None)

    @property
    def elapsed(self) -> float:
        """Seconds of the budget spent, resumed parts included."""
        return self._before + time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """Share of the budget spent."""
        if self.schedule.steps is not None:
            return min(self.step / self.schedule.steps, 1.0)
        return min(self.elapsed / (60.0 * self.schedule.minutes), 1.0)

    def due(self, what: str, minutes: float) -> bool:
        """Whether `what` was last done `minutes` ago (or the run began then)."""
        now = self.elapsed
        if now - self._last.setdefault(what, self._before) < 60 * minutes:
            return False
        self._last[what] = now
        return True

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Show, while the block runs, how much of the budget is spent: steps, or seconds where time is the budget."""
        steps = self.schedule.steps
        unit, total = ("steps", steps) if steps is not None else ("seconds", 60.0 * self.schedule.minutes)
        with meter(f"training, {unit}", total, self._spent()) as self._meter:
            yield
        self._meter = Meter(None)

    def _spent(self) -> int | float:
        return self.step if self.schedule.steps is not None else round(self.elapsed)

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine to zero, over the budget."""
        share, warmup = self.progress, self.schedule.warmup
        if share < warmup:
            return self.schedule.lr * max(share / warmup, 0.01)
        return self.schedule.lr * 0.5 * (1.0 + math.cos(math.pi * (share - warmup) / (1.0 - warmup)))

    def descend(self, loss: Float[Tensor, ""]) -> float:
        """One step of the optimiser along a loss; its value. One that is not finite changes no weight."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        value = float(loss.detach())
        if math.isfinite(value):
            if self.schedule.largest_norm is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.largest_norm)
            self.optimiser.step()
        self.step += 1
        if self.step % _EMA_EVERY == 0:
            self._average()
        self._meter.move_to(self._spent(), f"step {self.step:,}, loss {value:.3g}")
        return value

    @torch.no_grad()
    def _average(self) -> None:
        # Young averages forget faster, so that the random initial weights do not linger.
        decay = min(self.schedule.ema**_EMA_EVERY, (1 + self.step) / (40 + self.step))
        ours, theirs = self.average.state_dict(), self.network.state_dict()
        names = [name for name in ours if ours[name].is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in names], [theirs[name] for name in names], 1.0 - decay)

    def log(self, line: dict[str, Any]) -> None:
        """Say a line of figures and add it to the log."""
        say(json.dumps(line))
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def save(self, config: Any, **counters: int) -> None:
        """Write everything that resuming needs.

        Args:
            config: dataclass of the run's options, for the reader.
            counters: further numbers that `load` returns.
        """
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            **counters,
        }
        with atomic_path(self.state_file) as partial:
            torch.save(state, partial)
        write_json(self.config_file, described(config))

    def load(self) -> dict[str, int]:
        """Take up the state that `save` wrote, and give back its counters; without one, begin anew.

        Raises:
            InputError: the state is of another network or cannot be read.
        """
        if not self.state_file.is_file():
            return {}
        try:
            state: dict[str, Any] = read_torch_file(self.state_file)
            self.network.load_state_dict(state.pop("network"))
            self.average.load_state_dict(state.pop("average"))
            self.optimiser.load_state_dict(state.pop("optimiser"))
            self.step, self._before = int(state.pop("step")), float(state.pop("elapsed"))
        except Exception as error:
            raise InputError(
                f"{self.state_file} does not resume this run ({error}): leave out --resume, or choose another --out"
            ) from None
        self._start = time.monotonic()
        return state


def described(config: Any) -> dict[str, Any]:
    """A configuration as plain values; of paths the last name alone, since weights travel and directories do not."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=lambda value: Path(value).name))
    return plain
