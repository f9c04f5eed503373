"""FSDP2: splits a stage's decoder blocks over the processes, if no single GPU holds them.

    accelerate launch --use_fsdp --fsdp_version 2 --num_processes 8 --no_python
        bothways train RECIPE --out FOLDER

Each process holds its part of every block, frozen weights and adapter alike, with gradients and
optimizer state. A block is put together only while it runs. Embeddings, last norm, head and pooling
stay whole on every process, so a head stays tied to its embeddings. The trainer splits a model with
`shard`, and elsewhere asks for whole tensors. `parallel_request.py` reads if it is wanted.

Every pass gathers parameters on all processes together, so all must run equally many. The gradient
cache (`objectives/gradcache.py`) sees to it. Readings that the main process makes alone otherwise,
and the mining of new negatives, are made by all.

It was verified on two CPU processes (gloo): the training is the same as with whole models. It has
not been run on GPUs. Each process reads the whole start of a stage into its main memory before the
model is split, blocks are not fetched ahead, and the merge at the end runs on the main process's
CPU.

FSDP2: https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html. It is the third stage
of ZeRO: arXiv 1910.02054.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bothways.backbone.adapter.lora import trained
from bothways.backbone.adapter.targets import decoder_blocks
from bothways.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.distributed.fsdp import FSDPModule

    from bothways.encoder.encoder import Encoder

HOW = "accelerate launch --use_fsdp --fsdp_version 2"
REFUSED = {
    "FSDP_OFFLOAD_PARAMS": "parameters stay on their device: leave --fsdp_offload_params out",
    "FSDP_ACTIVATION_CHECKPOINTING": "set the stage's gradient_checkpointing instead of --fsdp_activation_checkpointing",
    "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "activations stay on their device: leave "
    "--fsdp_activation_checkpointing_offload out",
}
"""FSDP settings that would change the training, and the advice for each."""


@dataclass(frozen=True)
class Sharding:
    """The launcher's settings.

    Attributes:
        reshard_after_forward: if True, drop a block's whole weights after its forward pass and
            gather them again for the backward pass. This needs less memory, and half as much
            exchange again. If False, they stay in between.
    """

    reshard_after_forward: bool = True

    @classmethod
    def asked(cls) -> Sharding:
        """Read the settings from the launcher's environment.

        Raises:
            InputError: if a setting is not supported.
        """
        _check_settings()
        return cls(os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true")


def _check_settings() -> None:
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise InputError(
            f"accelerate: FSDP version {version} (FSDP_VERSION) is not supported, version 2 is: {HOW}"
        )
    for variable, instead in REFUSED.items():
        if os.environ.get(variable, "").lower() in ("true", "1", "yes"):
            raise InputError(f"accelerate: {variable} is not supported; {instead}")
    if os.environ.get("FSDP_IGNORED_MODULES"):
        raise InputError(
            "accelerate: FSDP_IGNORED_MODULES is not supported, because exactly the decoder blocks are sharded; leave it out"
        )
    if os.environ.get("FSDP_AUTO_WRAP_POLICY", "").upper() == "SIZE_BASED_WRAP":
        raise InputError(
            "accelerate: FSDP_AUTO_WRAP_POLICY SIZE_BASED_WRAP is not supported, because the unit is the "
            "decoder block; leave it out"
        )
    reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true")
    if reshard.lower() not in ("true", "false"):
        raise InputError(
            f"accelerate: FSDP_RESHARD_AFTER_FORWARD is {reshard!r}; set it to true or false"
        )


def shard(encoder: Encoder, sharding: Sharding, accelerator: Accelerator) -> None:
    """Split the decoder blocks over all processes, and move the encoder to this process's device.

    This happens in place. Gradients of a block are summed over the processes in each backward pass.
    The caller sums those of the other parameters.

    Args:
        encoder: on the CPU, with the adapter attached, the same on every process.
        sharding: the settings.
        accelerator: processes and device.

    Raises:
        InputError: if torch is too old, or blocks cannot be split.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise InputError(
            f"accelerate: sharding needs torch 2.9 or later, this is {torch.__version__}"
        )
    blocks: list[Any] = [
        block for _, blocks in decoder_blocks(encoder.backbone) for block in blocks
    ]
    _check_blocks(blocks, type(encoder.backbone).__name__)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=sharding.reshard_after_forward)
        # Sums, not means. Gloo does not know scaling inside the exchange.
        block.set_gradient_divide_factor(1.0)
        block.set_force_sum_reduction_for_comms(True)
        if not sharding.reshard_after_forward:
            block.register_forward_hook(_reshard_after_reading)
    encoder.to(accelerator.device)


def is_sharded(module: nn.Module) -> bool:
    """Tell if `shard` has split blocks of a module."""
    return any(_is_shard(parameter) for parameter in module.parameters())


def whole(tensor: Tensor, *, keep: bool = True) -> Tensor:
    """Return a tensor as it is, or the whole tensor that a shard is a part of, on the CPU.

    Every process must ask for it.

    Args:
        tensor: parameter or optimizer state.
        keep: False on processes that only help the others. They get an empty tensor of a shard.
    """
    if not _is_shard(tensor):
        return tensor.detach()
    found: Tensor = tensor.detach().full_tensor()  # type: ignore[attr-defined]
    return found.cpu() if keep else found.new_empty(0, device="cpu")


def gathered(optimizer: torch.optim.Optimizer, *, keep: bool) -> dict[str, Any]:
    """Return the optimizer's state dict without shards, for a checkpoint; see `whole`."""
    state = optimizer.state_dict()
    moments = {
        number: {
            key: whole(value, keep=keep) if isinstance(value, Tensor) else value
            for key, value in each.items()
        }
        for number, each in state["state"].items()
    }
    return {**state, "state": moments}


def trained_state(encoder: Encoder, *, keep: bool) -> dict[str, Tensor]:
    """Return the trained parameters of the backbone by name, whole and on the CPU.

    See `whole`. `load_adapter_state` takes the result.
    """
    return {
        name: whole(tensor, keep=keep).cpu() for name, tensor in trained(encoder.backbone).items()
    }


def put(parameter: nn.Parameter, value: Tensor) -> None:
    """Copy a whole tensor into a parameter, or into the part of it that this process holds."""
    with torch.no_grad():
        parameter.copy_(_part(value, parameter) if _is_shard(parameter) else value)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state dict of whole tensors, of which each process keeps its part.

    The dict must not be used afterwards.
    """
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, each in state["state"].items():
        parameter = held[number]
        if _is_shard(parameter):
            moments = {
                key: value
                for key, value in each.items()
                if isinstance(value, Tensor) and value.shape == parameter.shape
            }
            each.update({key: _part(value, parameter) for key, value in moments.items()})
    loops = [group["foreach"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, foreach in zip(optimizer.param_groups, loops):
        # Of this run, not of the run that wrote the file.
        group["foreach"] = foreach


def replicated(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Return the parameters that every process holds whole.

    Their gradients are not yet summed over processes.
    """
    return [parameter for parameter in parameters if not _is_shard(parameter)]


def clip(parameters: Iterable[nn.Parameter], limit: float, accelerator: Accelerator) -> float:
    """Scale gradients, shards among them, to a norm of at most `limit`. Return their norm before.

    It does the same as torch.nn.utils.clip_grad_norm_, which does not accept shards together with
    whole tensors.
    """
    gradients = [
        (_is_shard(parameter), parameter.grad)
        for parameter in parameters
        if parameter.grad is not None
    ]
    squares = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    for sharded, gradient in gradients:
        local: Tensor = gradient.to_local() if sharded else gradient  # type: ignore[attr-defined]
        squares[int(sharded)] += (
            torch.linalg.vector_norm(local, dtype=torch.float32).double().square()
        )
    # Only shards add up over processes. The others are the same everywhere.
    shards: Any = accelerator.reduce(squares[1:], "sum")
    norm = math.sqrt(float(squares[0]) + float(shards))
    factor = limit / (norm + 1e-6)
    if factor < 1:
        for _, gradient in gradients:
            gradient.mul_(factor)
    return norm


def _is_shard(tensor: Tensor) -> bool:
    # Test an attribute of DTensor. Importing the class is slow, and most runs never need it.
    return hasattr(tensor, "device_mesh")


def _part(value: Tensor, like: Any) -> Tensor:
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the same value, so none is sent.
    return distribute_tensor(
        value.to(like.device, like.dtype), like.device_mesh, like.placements, src_data_rank=None
    )


def _check_blocks(blocks: list[Any], family: str) -> None:
    held = [id(parameter) for block in blocks for parameter in block.parameters()]
    if len(set(held)) < len(held):
        raise InputError(
            f"accelerate: {family} cannot be sharded, its decoder blocks share parameters; train without FSDP"
        )
    if any(isinstance(module, nn.ModuleList) for block in blocks for module in block.modules()):
        raise InputError(
            f"accelerate: {family} cannot be sharded, its decoder blocks hold lists of modules (experts), "
            "and a process may use only "
            "some of them; train without FSDP"
        )
    if any(parameter.ndim == 0 for block in blocks for parameter in block.parameters()):
        raise InputError(
            f"accelerate: {family} cannot be sharded, its decoder blocks hold single numbers; train without FSDP"
        )


def _reshard_after_reading(block: FSDPModule, inputs: object, output: object) -> None:
    # After a pass without backward, the whole weights would stay, and be taken for the newest ones.
    if not torch.is_grad_enabled():
        block.reshard()
