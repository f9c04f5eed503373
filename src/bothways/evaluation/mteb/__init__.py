"""MTEB (Muennighoff et al. 2022, arXiv 2210.07316): our encoders and our data in mteb's tasks.

    instructions   the instructions of LLM2Vec, NV-Embed and E5-mistral for each MTEB task
    adapter        any encoder under mteb's encoder protocol, described by metadata
    task           an mteb task as one of our tasks, so that `evaluate` runs it with the others
    hub_tasks      MTEB's own tasks by name, with data from the Hugging Face hub or its cache
    local          tasks over files on this machine

Only functions import mteb, because it takes seconds and is an optional dependency.
"""

from bothways.evaluation.mteb.instructions import PromptStyle, task_prompt
from bothways.moved import old_names

__all__ = ["PromptStyle", "task_prompt"]

__getattr__ = old_names(__name__)
