"""DeepSpeed's ZeRO: splits gradients and optimizer state of a stage over the processes.

    pip install 'bothways[deepspeed]'
    accelerate launch --use_deepspeed --zero_stage 2 [--offload_optimizer_device cpu]
        --num_processes 8 --no_python bothways train RECIPE --out FOLDER

Stage 1 splits the optimizer's state, stage 2 gradients too. The weights stay whole on every
process. Stage 3 splits them as well, which here is done by FSDP2 (`sharding.py`). The state may be
in main memory. A DeepSpeed file (`--deepspeed_config_file`) is read for its `zero_optimization`.
Learning rates, batches, clipping and precision are the recipe's, so the file must leave them out or
say "auto".

DeepSpeed gets only the trained parameters. The engine's forward pass is not used, because its
gradients are hooked per parameter. It takes the mean over processes, but gradients here are sums
(`optimizer_step.py`), so the loss is multiplied by their number. Checkpoints hold whole tensors,
like those of any other run.

It was verified on two CPU processes (gloo), with and without offload: the training is the same as
without it. It has not been run on GPUs.

ZeRO: arXiv 1910.02054. ZeRO-Offload: arXiv 2101.06840. Settings:
https://www.deepspeed.ai/docs/config-json/
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bothways.errors import InputError
from bothways.training.loop.optim import set_lr
from bothways.training.parallel.sharding import HOW

if TYPE_CHECKING:
    from accelerate import Accelerator

RECIPE_KEYS = {
    "train_batch_size": "batch",
    "train_micro_batch_size_per_gpu": "batch.size",
    "gradient_accumulation_steps": "batch.accumulation",
    "gradient_clipping": "optim.clip_norm",
    "optimizer": "optim",
    "scheduler": "optim.schedule",
    "fp16": "the recipe's dtype",
    "bf16": "the recipe's dtype",
}
"""Keys of a DeepSpeed file that the recipe decides, and the recipe's key."""
KEPT = (
    "zero_optimization",
    "communication_data_type",
    "comms_logger",
    "steps_per_print",
    "wall_clock_breakdown",
)
"""Keys that do not change the training."""
STATE = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Zero:
    """The launcher's request.

    Attributes:
        config: DeepSpeed's own, without the settings that the recipe decides.
    """

    config: Mapping[str, Any]

    @classmethod
    def asked(cls) -> Zero:
        """Read the request from the launcher's environment.

        Raises:
            InputError: if DeepSpeed is not installed, or a setting is not supported.
        """
        if find_spec("deepspeed") is None:
            raise InputError(
                "accelerate: DeepSpeed is requested but not installed; pip install 'bothways[deepspeed]'"
            )
        from accelerate.utils import DeepSpeedPlugin

        try:
            found = DeepSpeedPlugin().deepspeed_config
        except (ValueError, OSError) as error:
            raise InputError(
                f"accelerate: DeepSpeed's settings: {str(error).splitlines()[0]}"
            ) from error
        return cls(_checked(found))


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in found.items():
        if key in RECIPE_KEYS:
            if not _says_nothing(key, value):
                raise InputError(
                    f"accelerate: the recipe decides DeepSpeed's {key} ({RECIPE_KEYS[key]}); leave it out, or set it to auto"
                )
        elif key not in KEPT and not _says_nothing(key, value):
            raise InputError(
                f"accelerate: DeepSpeed's {key} is not supported; leave it out (supported: {', '.join(KEPT)})"
            )
    zero = {key: value for key, value in found["zero_optimization"].items() if value != "auto"}
    stage = zero.get("stage")
    if stage == 3:
        raise InputError(
            f"accelerate: ZeRO stage 3 is not supported; use stage 1 or 2, or to split the weights too use FSDP2: {HOW}"
        )
    if stage not in (1, 2):
        raise InputError(
            f"accelerate: ZeRO stage {stage!r} splits nothing; use stage 1 or 2, or launch without DeepSpeed"
        )
    if (zero.pop("offload_param", None) or {}).get("device") not in (None, "none"):
        raise InputError(
            "accelerate: DeepSpeed's offload_param needs stage 3, which is not supported; leave it out"
        )
    device = (zero.get("offload_optimizer") or {}).get("device")
    if device in (None, "none"):
        zero.pop("offload_optimizer", None)
    elif device != "cpu":
        raise InputError(
            f"accelerate: DeepSpeed's offload_optimizer to {device!r} is not supported; use cpu"
        )
    kept = {key: found[key] for key in KEPT if key in found and found[key] != "auto"}
    return {**kept, "zero_optimization": zero}


def _says_nothing(key: str, value: object) -> bool:
    """Tell if a setting leaves the decision to the recipe."""
    if isinstance(value, Mapping):
        if key in ("fp16", "bf16"):
            return value.get("enabled") in (None, False, "auto")
        if key == "optimizer":
            return value.get("type") == "AdamW" and all(
                each == "auto" for each in value.get("params", {}).values()
            )
    # Accelerate sets the 1 if a file does not.
    return (
        value is None
        or value is False
        or value == "auto"
        or (key == "gradient_accumulation_steps" and value == 1)
    )


class _Held(nn.Module):
    """Parameters for an engine that is not used for forward passes."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.held = nn.ParameterList(parameters)


class ZeroUpdate:
    """A `WeightUpdate` by DeepSpeed: each process keeps the gradients and moments of its part."""

    together = True

    def __init__(
        self,
        zero: Zero,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.AdamW,
        accelerator: Accelerator,
        clip_norm: float | None,
    ) -> None:
        """Start an engine.

        Args:
            zero: the launcher's request.
            parameters: the trained ones by name, float32, on the accelerator's device, the same on
                every process.
            optimizer: over these parameters.
            accelerator: the run's processes.
            clip_norm: maximum norm of the whole gradient. If None, it is not clipped.
        """
        if accelerator.device.type == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        import deepspeed

        self.parameters = [
            parameter for group in optimizer.param_groups for parameter in group["params"]
        ]
        self._numbers = [len(group["params"]) for group in optimizer.param_groups]
        self._world = accelerator.num_processes
        config = {
            **zero.config,
            # Only the engine's own accounts use these. Batches are made here.
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": clip_norm or 0.0,
            # The optimizer is torch's AdamW, also if its state is in main memory.
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
        }
        self.engine, self.zero, _, _ = deepspeed.initialize(
            model=_Held(list(parameters.values())),
            optimizer=optimizer,
            config=config,
            dist_init_required=False,
        )
        self.optimizer = optimizer

    def begin(self) -> None:
        """Do nothing: the engine's step has dropped the gradients already."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Run the backward pass of a scalar. The last one of a step ends the exchange."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self._world, scale_wrt_gas=False)

    def finish(self) -> float:
        """Return the norm of the whole gradient before clipping, which happens in `step`.

        It is NaN if a gradient is not finite.
        """
        norm = float(self.zero.scaled_global_norm().detach())
        # The engine returns infinite and undefined norms as -1.
        return norm if norm >= 0 else float("nan")

    def step(self, lr: float) -> None:
        """Clip the gradient, and change the parameters."""
        set_lr(self.zero, lr)
        self.engine.step()

    def state(self, *, keep: bool) -> dict[str, Any]:
        """Return the optimizer's state dict like AdamW's own over whole parameters.

        Every process must ask for it, see `sharding.whole`.
        """
        from deepspeed.utils import safe_get_full_optimizer_state

        states = self.optimizer.state
        count = next((value["step"] for value in states.values() if "step" in value), None)
        if count is not None:
            self._link()
        found: dict[int, dict[str, Tensor]] = {}
        for number, parameter in enumerate(self.parameters):
            if count is None:
                # Before the first step there is no state.
                break
            whole = {name: safe_get_full_optimizer_state(parameter, name) for name in STATE}
            if keep:
                found[number] = {
                    "step": count.clone(),
                    **{name: value.view(parameter.shape).cpu() for name, value in whole.items()},
                }
        groups, first = [], 0
        for group, size in zip(self.optimizer.param_groups, self._numbers):
            groups.append(
                {
                    **{key: value for key, value in group.items() if key != "params"},
                    "params": list(range(first, first + size)),
                }
            )
            first += size
        return {"state": found, "param_groups": groups}

    def load(self, state: dict[str, Any]) -> None:
        """Take over a state dict of whole tensors, and the present values of the parameters."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self.zero.refresh_fp32_params()
        if not state["state"]:
            return
        # Make the moments of this process's parts, as the first step would. They are filled below.
        for group in self.zero.single_partition_of_fp32_groups:
            moments = {name: torch.zeros_like(group) for name in STATE}
            self.optimizer.state[group] = {"step": state["state"][0]["step"].clone(), **moments}
        self._link()
        for number, parameter in enumerate(self.parameters):
            for name in STATE:
                value = state["state"][number][name]
                safe_set_full_optimizer_state(parameter, value.flatten().to(parameter.device), name)

    def _link(self) -> None:
        """Connect parameters to their moments.

        DeepSpeed does so after the first group's first step, before the other groups have moments.
        """
        self.zero._hp_optimizer_states_linked = False
        self.zero._lazy_init_hp_params_optimizer_state()
