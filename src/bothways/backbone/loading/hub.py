"""Downloads hub repositories that are not plain models: encoder folders and adapters.

transformers' loaders do not download these as a whole.
"""

from __future__ import annotations

from pathlib import Path

from bothways.backbone.loading.checkpoint_loading import in_one_line
from bothways.folder_files import ADAPTER, OURS

#: The files of an adapter. Those that LongLoRA published are pickles and have two parts.
ADAPTER_FILES = (
    ADAPTER,
    "adapter_model.safetensors",
    "adapter_model.bin",
    "trainable_params.safetensors",
    "trainable_params.bin",
    OURS,
)


def snapshot(repository: str, revision: str | None = None) -> Path:
    """Get a local copy of the small files and safetensors of a hub repository, given its id.

    Args:
        repository: the id, for example "Qwen/Qwen3-0.6B".
        revision: a branch, tag or commit. If None, the main branch.

    Raises:
        SourceError: if it cannot be found or reached.
    """
    from huggingface_hub import snapshot_download

    with in_one_line(repository if revision is None else f"{repository} at revision {revision}"):
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                ignore_patterns=["*.bin", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf"],
            )
        )


def adapter_snapshot(repository: str) -> Path:
    """Get a local copy of an adapter, given the id of its repository, from the cache or the hub.

    Raises:
        SourceError: if it cannot be found or reached.
    """
    from huggingface_hub import snapshot_download

    with in_one_line(repository):
        return Path(snapshot_download(repository, allow_patterns=list(ADAPTER_FILES)))


def has_file(repository: str, name: str) -> bool:
    """Tell if the hub repository of this id holds a file. The file is downloaded if so.

    Raises:
        SourceError: if the repository cannot be found or reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with in_one_line(repository):
        try:
            hf_hub_download(repository, name)
        except EntryNotFoundError:
            return False
        return True
