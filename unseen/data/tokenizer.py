"""Tokenizers: trained on the training logs only, kept as a file that others read, with its lineage beside it.

The file is that of the `tokenizers` library. `<name>.lineage.json` beside it says of which logs it was made.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from unseen.data.passages import texts_of
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.files import write_whole

Kind = Literal["wordpiece", "bpe"]
Case = Literal["lower", "keep"]
PADDING, UNKNOWN, START, SEPARATOR, HIDDEN = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
_PLANE, _PRIVATE = 0x10000, 0xF0000  # characters of a Unicode plane, and where the private ones begin


def train_tokenizer(
    store: Store, log_ids: Sequence[str], out: Path, *, kind: Kind, vocabulary: int, case: Case
) -> dict[str, Any]:
    """Train on the passages of these logs and write `out` and its lineage; the same passages give the same file.

    kind: WordPiece (BERT) or byte-level BPE (GPT-2), of at most `vocabulary` tokens. case="lower" gives "STALLED" and
    "stalled" one token, so that upper-case reports and mixed-case ones share their words; "keep" keeps them apart.
    Returns the lineage.
    """
    if vocabulary <= len(SPECIAL) + 256 * (kind == "bpe"):
        raise UnseenError(f"a vocabulary of {vocabulary}", "it holds the special tokens, for bpe all bytes, and words")
    texts = [text for log_id in log_ids for _, _, text in texts_of(store, log_id)]
    if not texts:
        raise UnseenError(f"no text in {len(log_ids)} logs of {store.path}", "", "make some with: unseen ingest text")
    made = _trained(sorted(texts), kind, vocabulary, case)
    content = made.to_str(pretty=True)
    lineage = {
        "digest": digest_of(content.encode()),
        "kind": kind,
        "case": case,
        "vocabulary": made.get_vocab_size(),
        "store_digest": store.digest(log_ids),
        "pretrained_on": sorted(log_ids),
        "passages": len(texts),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(lineage_path(out), json.dumps(lineage, indent=1) + "\n")
    write_whole(out, content)
    return lineage


class Encoded(NamedTuple):
    """A passage as tokens, without separators."""

    ids: list[int]
    words: list[int]  # the word of each, from 0


class Tokenizer:
    """A tokenizer's file, read. Safe to share between threads."""

    def __init__(self, path: Path, content: bytes):
        self.path, self.digest = path, digest_of(content)
        try:
            from tokenizers import Tokenizer as Read
        except ImportError as error:
            raise UnseenError("text needs the library tokenizers", "", "pip install 'unseen[text]'") from error
        try:
            self._made = Read.from_str(content.decode())
        except Exception as error:  # the library raises bare exceptions
            raise UnseenError(f"{path} is no tokenizer: {error}", "the file of the library `tokenizers`") from error
        self._made.no_padding()
        self._made.no_truncation()
        self.size = self._made.get_vocab_size()

    def encode(self, text: str) -> Encoded:
        """Tokens and their words."""
        found = self._made.encode(text, add_special_tokens=False)
        words = found.word_ids
        if None in words:
            raise UnseenError(f"{self.path} gives tokens of no word", "a tokenizer splits text into words first")
        return Encoded(found.ids, [word for word in words if word is not None])

    def id_of(self, token: str) -> int:
        """The id of a special token; UnseenError where the vocabulary lacks it."""
        found = self._made.token_to_id(token)
        if found is None:
            raise UnseenError(f"{self.path} has no token {token!r}", "rows of text are closed by separators")
        return found

    def publish(self, folder: Path, start: str, separator: str, length: int) -> None:
        """Write tokenizer.json and tokenizer_config.json, by which transformers makes the rows that a view makes."""
        from tokenizers import Tokenizer as Read
        from tokenizers.processors import TemplateProcessing

        made = Read.from_str(self._made.to_str())
        ends = [(token, self.id_of(token)) for token in (start, separator)]
        made.post_processor = TemplateProcessing(single=f"{start} $A {separator}", special_tokens=ends)
        known = {"unk_token": UNKNOWN, "pad_token": PADDING, "mask_token": HIDDEN}
        told = {name: token for name, token in known.items() if made.token_to_id(token) is not None}
        card = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": length,
            "cls_token": start,
            "sep_token": separator,
            "model_input_names": ["input_ids", "attention_mask"],
            **told,
        }
        write_whole(folder / "tokenizer.json", made.to_str(pretty=True))
        write_whole(folder / "tokenizer_config.json", json.dumps(card, indent=1) + "\n")


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer's file; UnseenError where there is none. The same content is read once."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnseenError(
            f"no tokenizer {path}", "text becomes tokens by a file", "make one with: unseen tokenize STORE"
        ) from error
    return _read(path, content)


def lineage_path(path: Path) -> Path:
    """Where the lineage of a tokenizer lies."""
    return path.with_suffix(".lineage.json")


def read_lineage(path: Path, digest: str) -> dict[str, Any] | None:
    """Of which logs a tokenizer was made; None where nothing beside it says so. UnseenError where that is of another.

    A published tokenizer has no lineage that we could know.
    """
    try:
        lineage = json.loads(lineage_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UnseenError(f"{lineage_path(path)} is damaged: {error}") from error
    if lineage.get("digest") != digest:
        raise UnseenError(
            f"{lineage_path(path)} is not of {path.name}", "their digests differ", "train the tokenizer again"
        )
    return lineage


def digest_of(content: bytes) -> str:
    """blake2b-128 of a file's content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@lru_cache(maxsize=16)
def _read(path: Path, content: bytes) -> Tokenizer:
    return Tokenizer(path, content)


def _trained(texts: Sequence[str], kind: Kind, vocabulary: int, case: Case) -> Any:
    """A tokenizer of the library, trained; a pure function of its arguments."""
    try:
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    except ImportError as error:
        raise UnseenError("text needs the library tokenizers", "", "pip install 'unseen[text]'") from error
    normalizer = normalizers.Sequence([normalizers.NFC(), *([normalizers.Lowercase()] if case == "lower" else [])])
    if kind == "wordpiece":
        words = pre_tokenizers.BertPreTokenizer()
        shifted = [_shifted(word for word, _ in words.pre_tokenize_str(normalizer.normalize_str(t))) for t in texts]
        made = _merges(shifted, vocabulary, pre_tokenizers.WhitespaceSplit(), [])
        pieces = sorted(made.get_vocab().items(), key=lambda entry: entry[1])
        made = Tokenizer(models.WordPiece({_unshifted(piece): place for piece, place in pieces}, unk_token=UNKNOWN))
        made.add_special_tokens(list(SPECIAL))
        made.pre_tokenizer, made.decoder = words, decoders.WordPiece()
    else:
        split = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made = _merges(texts, vocabulary, split, pre_tokenizers.ByteLevel.alphabet(), normalizer)
        made.decoder = decoders.ByteLevel()
    made.normalizer = normalizer
    return made


def _merges(texts: Sequence[str], vocabulary: int, split: Any, alphabet: list[str], normalizer: Any = None) -> Any:
    """Byte pair encoding, whose trainer breaks ties by the order of a sorted alphabet."""
    from tokenizers import Tokenizer, models, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = split
    if normalizer is not None:
        made.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        show_progress=False,
        min_frequency=2,
        initial_alphabet=alphabet,
    )
    made.train_from_iterator(texts, trainer)
    return made


def _shifted(words: Iterable[str]) -> str:
    """Words whose later characters are moved into a private plane, where they stand for `##c`.

    The library's own WordPiece trainer meets these pieces in the order of a hash table, so that two processes make two
    vocabularies of the same texts.
    """
    kept = (word for word in words if all(ord(character) < 2 * _PLANE for character in word))
    return " ".join(word[0] + "".join(chr(ord(character) + _PRIVATE) for character in word[1:]) for word in kept)


def _unshifted(piece: str) -> str:
    return ("##" if ord(piece[0]) >= _PRIVATE else "") + "".join(
        chr(ord(c) - _PRIVATE) if ord(c) >= _PRIVATE else c for c in piece
    )
