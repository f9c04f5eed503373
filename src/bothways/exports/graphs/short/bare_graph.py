"""An OpenVINO graph of an encoder without its weights, which are put in when it is opened.

All numbers that training changes are inputs of the traced function, so the file has about a
megabyte, no transformation can fold a weight into another number, and encoders of one shape share
the file. The weights that are put in are the encoder's own memory. OpenVINO copies the matrices of
linear layers once more, in the order that its products read.

Letters: B texts, L tokens, D embedding.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bothways.backbone.loading.checkpoint_loading import silenced
from bothways.encoder.encoder import Encoder
from bothways.errors import BothwaysError, MissingExtra, UnsupportedFamily
from bothways.exports.graphs.int8_weights import rounded
from bothways.exports.graphs.onnx_graph import INPUTS, GraphRun
from bothways.exports.graphs.openvino_graph import compiled_run
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from bothways.foreign import one_line

if TYPE_CHECKING:
    from openvino import Model
    from torch.export import ExportedProgram

_WEIGHT = "weight_"  # before the number of a weight, in the names of the graph's inputs


class _WithWeights(nn.Module):
    """Computes a padded encoder with the weights that it is given."""

    inside: PaddedEncoder

    def __init__(self, inside: PaddedEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.__dict__["inside"] = inside  # not a child, because its weights would be constants
        self.names = list(names)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pool_mask: Tensor, weights: list[Tensor]
    ) -> Tensor:
        """Compute vectors (B, D) before normalization, see `PaddedEncoder.forward`."""
        given = dict(zip(self.names, weights, strict=True))
        out = functional_call(self.inside, given, (input_ids, attention_mask, pool_mask))
        vectors: Tensor = out[-1]
        return vectors


def missing() -> MissingExtra:
    """Return the error that says how to install openvino."""
    return MissingExtra("openvino", "graph", "graph='openvino'")


def runtime() -> list[str]:
    """Return the version of OpenVINO, and the CPU as it knows it."""
    import openvino

    cpu = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return [openvino.__version__, str(cpu)]


def weights_of(encoder: Encoder) -> dict[str, Tensor]:
    """Return the weights of an encoder by name. A tied one has its first name alone.

    Raises:
        InputError: the graph does not have a part of the encoder.
    """
    return {name: value.detach() for name, value in PaddedEncoder(encoder).named_parameters()}


def write(encoder: Encoder, file: Path, tokens: int, name: str) -> None:
    """Trace an encoder for any number of texts of 2 to `tokens` tokens, and write the graph.

    Args:
        encoder: bidirectional, on the CPU, in float32, in evaluation mode.
        file: the .xml file. A .bin file is written next to it.
        tokens: largest number of tokens of a text.
        name: the model's name, which begins an error line.

    Raises:
        InputError: the graph does not have a part of the encoder.
        UnsupportedFamily: torch or OpenVINO cannot trace the family's code.
    """
    import openvino

    try:
        with plain_attention(encoder), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _converted(_traced(encoder, tokens))
    except BothwaysError:
        raise
    except Exception as error:  # both raise classes of their own
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UnsupportedFamily(
            f"{name}: no OpenVINO graph can be made of this family "
            f"({type(cause).__name__}: {one_line(str(cause), 200)})"
        ) from error
    _name_inputs(model)
    openvino.save_model(model, os.fspath(file), compress_to_fp16=False)


def _traced(encoder: Encoder, tokens: int) -> ExportedProgram:
    """Return torch's program of an encoder with weights as inputs."""
    module = PaddedEncoder(encoder).eval()
    names, weights = zip(*module.named_parameters(), strict=True)
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 0, 0]])
    mask = (torch.arange(5) < torch.tensor([[5], [3]])).long()
    sizes = {
        0: torch.export.Dim("batch", min=1, max=65536),
        1: torch.export.Dim("tokens", min=2, max=tokens),
    }
    shapes: dict[str, Any] = dict.fromkeys(INPUTS, sizes)
    shapes["weights"] = [None] * len(weights)
    # the same tensor given twice would become one input
    given = (ids, mask, mask.clone(), [weight.detach() for weight in weights])
    with torch.no_grad(), silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(
            _WithWeights(module, names), given, dynamic_shapes=shapes, strict=False
        )


def _converted(program: ExportedProgram) -> Model:
    """Convert torch's program. `openvino.convert_model` would report each call to its makers."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    frontend = FrontEndManager().load_by_framework("pytorch")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns of operations that this torch does not decompose
    try:
        decoder = TorchFXPythonDecoder.from_exported_program(program, dynamic_shapes=False)
        return frontend.convert(frontend.load(decoder))
    finally:
        logging.disable(before)


def _name_inputs(model: Model) -> None:
    """Name the inputs by their places: the three arrays, then the weights in their order."""
    for place, each in enumerate(model.inputs):
        name = INPUTS[place] if place < len(INPUTS) else f"{_WEIGHT}{place - len(INPUTS)}"
        each.get_tensor().set_names({name})


def open_run(
    file: Path,
    encoder: Encoder,
    threads: int,
    blocks: Mapping[str, int] | None = None,
    group: int = 0,
) -> GraphRun:
    """Open a graph with the weights of an encoder.

    Args:
        file: as `write` wrote it for an encoder of the same shape.
        encoder: its weights are read in place, so they must stay as they are.
        threads: number of threads.
        blocks: by the name of a weight (N, K), how many numbers of a row have one scale in int8,
            for example {"backbone.layers.0.mlp.up_proj.weight": 64}. All others stay float32.
        group: see `rounded` of `openvino_graph.compiled_run`.

    Returns:
        A function of three arrays (B, L) int64, which returns vectors (B, D) before normalization.

    Raises:
        RuntimeError: the file does not fit the encoder.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(os.fspath(file))
    weights = list(weights_of(encoder).items())
    left = set(range(len(weights)))
    shared: list[Any] = []  # OpenVINO reads this memory
    for parameter in list(model.get_parameters()):
        name = parameter.output(0).get_any_name()
        if name in INPUTS:
            continue
        index = int(name.removeprefix(_WEIGHT))
        name, weight = weights[index]
        array = weight.contiguous().numpy()
        if block := (blocks or {}).get(name, 0):
            value = _eight_bits(array, block)
        else:
            value = openvino.op.Constant(array, shared_memory=True)
            shared += [weight, array]
        parameter.output(0).replace(value.output(0))
        model.remove_parameter(parameter)
        left.discard(index)
    if left:
        raise RuntimeError(f"{len(left)} weights are not in the graph")
    model.validate_nodes_and_infer_types()
    run = compiled_run(core, model, threads, group)

    def held(*given: np.ndarray, _memory: Sequence[object] = shared) -> np.ndarray:
        return run(*given)  # `_memory` lives as long as the graph, which reads it

    return held


def _eight_bits(weight: np.ndarray[Any, Any], block: int) -> Any:
    """Return the operations that make a weight (N, K) of int8 blocks, which OpenVINO keeps."""
    from openvino import opset13 as ops

    whole, scales = rounded(weight[None], block)
    shape = np.asarray(weight.shape, dtype=np.int64)
    value = ops.multiply(ops.convert(ops.constant(whole[0]), "f32"), ops.constant(scales[0]))
    return ops.reshape(value, ops.constant(shape), False)
