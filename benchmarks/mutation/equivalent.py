"""Changes that no test can see, each with the reason: open this if `make mutate` names a survivor
that changes nothing.

The second part of a key is a piece of what the script prints after the line number: `stripped
source line | before -> after`.
"""

_ONE = "the tensor has one dimension, which is the first and the last"
_TWO = "the tensor has two dimensions, so 1 is the last"
_SYMMETRIC = "the function is symmetric"
_CHUNK = "a chunk changes memory, and the result only by rounding"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("attention/drawn.py", "_SPARE = 2 "): "one position beyond the widest window would be enough",
    ("attention/drawn.py", "-> model(input_ids=ids)"): "a cache of keys does not change the masks of a first pass",
    ("attention/stock.py", "ids = torch.randint(5, config.vocab_size, (1, 7), "): "any text of two tokens shows the direction",
    ("attention/text_config.py", "UNBOUNDED = 2**30 | 30 -> 29"): "any number of tokens that no text has",
    ("objectives/document_tokens.py", "CHARACTERS = 4_000_000 |"): _CHUNK,
    ("objectives/document_tokens.py", "TOGETHER = 1000 |"): _CHUNK,
    ("objectives/llara_rows.py", "TOGETHER = 1000 |"): _CHUNK,
    ("encoder/texts/stored_rows.py", "TOGETHER = 256 |"): _CHUNK,
    ("training/parallel/sharding.py", "if factor < 1: | factor < 1 -> factor <= 1"): "a product with one changes nothing",
    ("encoder/long_words/first_tokens.py", "if shared < 1 or left < 0: | 0 -> -1"): "one character more or less of work",
    (
        "encoder/long_words/first_tokens.py",
        "used += end - start | used += end - start -> pass",
    ): "it limits the work of a proof alone",
    ("objectives/contrastive_base.py", "FILL = 64 |"): "filler changes no vector",
    ("objectives/contrastive_base.py", "WORTH_KEEPING = 8 |"): "kept activations change time and memory alone",
    ("losses/bag_of_words.py", "chunk: int = 8) -> Tensor: | 8 ->"): _CHUNK,
    ("losses/bag_of_words.py", "-> checkpoint(_losses, head, part, own, counts, use_reentrant=False)"): "costs time alone",
    ("losses/bag_of_words.py", "surprise = logits.logsumexp(-1)[bag] - logits[bag, words] | -1 -> +1"): _TWO,
    ("losses/bag_of_words.py", "index_add(0, bag, surprise) / sizes.clamp(min=1) | 0 -> -1"): _ONE,
    ("losses/bag_of_words.py", "sum(sizes) != words.shape[0]: | 0 -> -1"): _ONE,
    ("losses/contrastive.py", "-> torch.promote_types(torch.float32, rows.query.dtype)"): _SYMMETRIC,
    ("losses/contrastive.py", "-> rows.query.new_zeros(())"): "adding the first width's loss makes it float32",
    ("losses/distillation.py", "torch.bincount(owner, minlength=rows) ->"): "only rows that own a hard negative are looked up",
    ("losses/distillation.py", "masked_fill(~there, 0.0)[usable] | 0.0 -> 1.0"): "the teacher's probability there is 0",
    ("losses/distillation.py", "owner.numel() == 0: | 0 -> -1"): "without hard negatives the rest makes the same",
    ("losses/false_negatives.py", "positive < 0 -> positive <= 0"): "a cosine of 0 gives the threshold 0 either way",
    ("losses/gather.py", "dist.get_world_size() >= 1"): "gathering from one process is the identity",
    (
        "losses/gather.py",
        "padded = rows.new_zeros(max(1, *sizes), *rows.shape[1:]) | 1 -> 0",
    ): "gloo gathers empty tensors, too",
    ("losses/gather.py", "summed = gradients[0].contiguous().clone() | 0 -> -1"): "the function has one output",
    ("losses/gather.py", "padded = rows.new_zeros(max(1, *sizes), *rows.shape[1:]) | 1 -> 2"): "more filler, which is cut off",
    ("losses/infonce.py", "LossSum(total, labels.shape[0], correct) | 0 -> -1"): _ONE,
    ("losses/infonce.py", "dim=-1) | -1 -> +1"): _TWO,
    ("losses/infonce.py", "torch.promote_types(vectors.dtype, torch.float32) -> torch.promote_types(torch.float32"): _SYMMETRIC,
    ("losses/masked_next_token.py", "LossSum(total, targets.shape[0], correct) | 0 -> -1"): _ONE,
    ("training/loop/stage_run.py", "state.step if state.step else -1, self.offset) | 1 -> 2"): "steps count from 0",
    ("training/loop/weight_update.py", "EXCHANGED = 1 << 26 |"): _CHUNK,
    ("training/recipe/yaml_text.py", "deep: bool = False) -> dict"): "nested values are built at once or later",
    (
        "training/recipe/llm2vec_json.py",
        "given = data[0] if data is not None and len(data) == 1 and holds_e5(data[0]) else None | 0 -> -1",
    ): "one item is the first and the last",
    ("training/hooks/checkpointing.py", "best = broadcast_object_list([best])[0] | 0 -> -1"): "the list has one item",
    ("training/parallel/parallel_request.py", "cannot share a model ({asked[-1]})"): "one item is the first and the last",
    ("training/stage/negative_refresh.py", "-> zip(refresher.examples, before)"): _SYMMETRIC,
    ("training/stage/stage_setup.py", "encoder.requires_grad_(False) |"): "peft freezes every weight that is not a factor",
    ("training/loop/optimizer_step.py", "num_processes == 1: | 1 -> 0"): "the sum over one process is its own value",
    (
        "training/stage/stage_setup.py",
        "torch.random.fork_rng(devices=[]) -> torch.random.fork_rng()",
    ): "a CPU has one generator",
    ("training/stage/encoder_options.py", "derive('new tokens', recipe.seed)"): "another number made from the same seed",
    ("training/loop/optim.py", "blocks: int = 0 |"): "a caller with layer_decay gives it",
    ("training/loop/optim.py", "foreach = None if"): "torch's loops give the same numbers up to rounding",
    ("training/loop/optim.py", "betas=config.betas, eps=config.eps)"): "torch's loops give the same numbers up to rounding",
    ("training/loop/optim.py", "[::-1]], betas=config.betas"): "set_lr sets the rate next",
    ("training/loop/optim.py", "-> sorted(groups.items())"): "no two groups have one key",
    ("objectives/gradcache.py", "REPLAY_TOLERANCE = 0.3 |"): "between the rounding of a replay and other dropout masks",
    ("objectives/gradcache.py", "outputs = _forward(encode, passes, 0, seed) | 0 -> -1"): "a single pass may have any seed",
    ("objectives/gradcache.py", "passes[0].input_ids.device) | 0 ->"): "all passes are on one device",
    (
        "objectives/gradcache.py",
        "added = [_small(passes[-1])] * (count - len(passes)) | 1 ->",
    ): "any pass will do for a gradient of 0",
    (
        "objectives/gradcache.py",
        "added = [_small(passes[-1])] * (count - len(passes)) | -1 ->",
    ): "any pass will do for a gradient of 0",
    ("objectives/gradcache.py", "-> index <= len(passes)"): "rows behind the last have no gradient",
    ("objectives/gradcache.py", "start += batch.rows if own else 0 | 0 ->"): "rows of an added pass are not read",
    ("objectives/seeding.py", "torch.random.fork_rng(devices=[]) -> torch.random.fork_rng()"): "a CPU has one generator",
    (
        "encoder/batch.py",
        'hashlib.blake2b(read.encode(), digest_size=8).digest(), "big") >> 1 | 8 -> 7',
    ): "2^55 numbers are enough",
    (
        "encoder/folder/adapter_settings.py",
        '[[kind.rsplit(".", 1)[-1], name] for name, kind in behind], | 1 -> 2',
    ): "more cuts leave the last part as it is",
    ("training/loop/weight_update.py", "bucket, size = [], 0 | 0 -> -1"): _CHUNK,
    (
        "encoder/folder/head_modules.py",
        "-> models.Dense(width, width)",
    ): "the only activation that gets here, tanh, is Dense's own",
    (
        "encoder/folder/pooling_module.py",
        "-> save_file(tensors, place / 'model.safetensors')",
    ): "a label that nobody reads here",
    ("training/loop/precision.py", "cast_input_dtype_enabled = False |"): "the cast would only be undone",
    (
        "training/loop/precision.py",
        "cache_enabled=False): | False -> True",
    ): "only older torch keeps casts made without a graph",
    ("training/loop/randomness.py", "self._epoch = -1 | 1 -> 2"): "any number that no epoch has",
    ("training/recipe/overrides.py", "-> difflib.get_close_matches(key, names)"): "the first of them is the closest either way",
    ("encoder/proof/comparison.py", "int(batch.input_ids[0]), device=batch.input_ids.device) | 0 -> -1"): "padding is masked",
    ("encoder/proof/disk.py", "min(2 * smallest + 8, LONGEST))) | 8 -> 7"): "any length beyond the window",
    (
        "encoder/proof/disk.py",
        "-> AutoModel.from_pretrained(str(encoder.folder), dtype=encoder.dtype)",
    ): "a folder is not looked up",
    ("encoder/proof/vector_checks.py", "-> distance(states[:1], moved[:1])"): "a share of the other side, far from the limit",
    (
        "objectives/contrastive.py",
        "if all(text == texts[0] for text in texts): | 0 -> -1",
    ): "all equal the first if all equal the last",
}
