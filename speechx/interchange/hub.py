"""Models by name: `OWNER/NAME` or `OWNER/NAME@REVISION` of the Hugging Face Hub.

    facebook/wav2vec2-xls-r-300m
    mine/model@a/branch
    facebook/mms-1b-all@3d33597edbdaaba14a8e858e2c8caa76e3cec0cd

huggingface_hub (extra `hf`) fetches the files into its cache and resumes what was interrupted. Only
files that speechx reads are fetched: the settings first, so that a model of another kind is refused
before its weights are loaded. Without network the cache is used alone.

HF_ENDPOINT, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are read in every call, because a notebook may
set them when huggingface_hub has been imported already.
"""

import difflib
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from speechx.errors import UserError
from speechx.interchange.hugging_face import require_wav2vec2
from speechx.interchange.pickles import SUFFIXES
from speechx.log import logger
from speechx.text.languages import iso639_3
from speechx.wording import number_of

ID = re.compile(
    r"(?P<repo>[a-z0-9][\w.-]*/[a-z0-9_][\w.-]*)(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?",
    re.ASCII | re.IGNORECASE,
)
URL = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]+):/+)?(?:www\.)?"
    r"(?P<place>hf\.co|huggingface\.co|[^/]*)/(?P<rest>.*)",
    re.IGNORECASE,
)
PAGES = ("tree", "blob", "resolve", "raw", "commit", "commits", "edit")
"""Of a model, followed by a revision."""
OTHER_PAGES = ("datasets", "spaces", "docs", "papers", "collections", "blog", "models")
COMMIT = re.compile("[0-9a-f]{40}")
CACHED = re.compile(r"models--(?P<owner>.+)--(?P<name>.+)")
FILES = (".safetensors", ".yaml", ".json", *SUFFIXES)
"""A name with such an ending is a file, not a model of the hub."""
OURS = ("config.yaml", "vocabulary.json")
TIMES = "times_*.safetensors"  # how the tokens of a head sound
THEIRS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "added_tokens.json",
    "adapter_config.json",
    "language_model/attrs.json",
)
"""Settings and symbols of transformers; the last two only show that the model has such parts."""
BESIDE = ("dict*.txt", "*.model", "*.yaml", "*.json")
"""What stands beside a single checkpoint of fairseq, fairseq2 or torchaudio."""
WEIGHTS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*.bin"),
)
"""The first that a model has is read."""
PART = re.compile(r".+-\d+-of-(\d+)\.\w+")
ADAPTER = re.compile(r"(?:adapter\.|adapters/)(?P<language>[^/]+)\.(?:safetensors|bin|json)")
"""Of MMS, and of ours."""
EVERY = "*"
"""Instead of a language: the adapters for all languages."""
SECONDS = 10.0  # to wait for an answer of the hub
BY_HAND = (
    "save its config.json, preprocessor_config.json, tokenizer_config.json, vocab.json (where they "
    "exist) and model.safetensors or pytorch_model.bin (of MMS also adapter.LANGUAGE.safetensors) "
    "into one folder on a machine with network, bring that folder here and give --model FOLDER or "
    "init=FOLDER"
)
OFFLINE = f"try again with network, or {BY_HAND}"
LOGIN = "log in with `hf auth login` or set HF_TOKEN"


@dataclass(frozen=True, slots=True)
class HubId:
    """A model of the hub: `owner/name`, and a branch, a tag or a commit."""

    repo: str
    revision: str = "main"


def hub_id(path: Path | str) -> HubId | None:
    """The model of the hub that a text names if no such path exists, else None."""
    path = Path(path)
    found = ID.fullmatch(path.as_posix())
    if found is None or "--" in found["repo"] or ".." in path.as_posix() or path.exists():
        return None
    revision = found["revision"] or "main"
    if found["repo"].endswith(FILES) or ("/" in revision and revision.endswith(FILES)):
        return None
    return HubId(found["repo"], revision)


def refuse_url(path: Path | str) -> None:
    """A UserError if this is an address of the network, with the name to write instead of it."""
    words = re.split("[?#]", Path(path).as_posix())[0].strip("/")
    found = URL.fullmatch(words)
    if found is None or Path(path).exists():
        return
    shown = re.sub(":/+", "://", str(path), count=1)  # a Path has one slash
    of_hub = found["place"].lower() in ("hf.co", "huggingface.co")
    parts = found["rest"].split("/")
    if (found["scheme"] or "").lower() == "hf":
        of_hub, parts = True, [found["place"], *parts]
    elif not of_hub and not found["scheme"]:
        return
    if not of_hub or len(parts) < 2 or parts[0] in OTHER_PAGES:
        raise UserError(
            f"{shown} is the address of a page, not of a model: expected OWNER/NAME of a model of "
            "the Hugging Face Hub, or a folder or file that has been downloaded"
        )
    name = "/".join(parts[:2])
    if len(parts) > 3 and parts[2] in PAGES and parts[3] != "main":
        revision = parts[3:6] if parts[3:5] == ["refs", "pr"] else parts[3:4]
        name += f"@{unquote('/'.join(revision))}"
    raise UserError(f"{shown} is the address of a page: write {name} instead")


def local_path(path: Path | str, language: str | None = None) -> Path:
    """The path itself; for a model of the hub the folder of its files in the cache, which are
    fetched if they are not there. Of adapters for several languages, only those for `language` are
    fetched, or those for EVERY language.
    """
    refuse_url(path)
    asked = hub_id(path)
    return Path(path) if asked is None else _fetch(asked, language)


def published_name(path: Path | str) -> str:
    """`owner/name@commit` of a folder in the cache of the hub; of any other the path as it is."""
    path = Path(path)
    found = CACHED.fullmatch(path.parts[-3]) if len(path.parts) > 2 else None
    if found is None or path.parts[-2] != "snapshots" or not COMMIT.fullmatch(path.name):
        return str(path)
    return f"{found['owner']}/{found['name']}@{path.name}"


def wanted(files: Collection[str], language: str | None = None) -> tuple[list[str], list[str]]:
    """The files that are read of a model that has `files`: settings and symbols, then weights.

    Raises UserError if weights, or the adapter for `language`, are not among them.
    """
    theirs = "config.json" in files
    settings = [name for name in (THEIRS if theirs else OURS) if name in files]
    settings += [name for name in sorted(files) if not theirs and fnmatch(name, TIMES)]
    weights = next(
        (
            [name for name in sorted(files) if any(fnmatch(name, pattern) for pattern in patterns)]
            for patterns in WEIGHTS
            if settings and patterns[0] in files
        ),
        [],
    )
    if not weights and not settings:
        weights = [name for name in files if name.endswith(SUFFIXES) and "/" not in name]
        weights = weights if len(weights) == 1 else []
        settings = [
            name
            for name in sorted(files)
            if "/" not in name and any(fnmatch(name, pattern) for pattern in BESIDE)
        ]
    if not weights:
        some = sorted(files)[:8]
        raise UserError(
            "it has no model that speechx reads: expected config.json or config.yaml with "
            f"model.safetensors or pytorch_model.bin, or one .pt file, found "
            f"{', '.join(some) or 'nothing'}{', ...' if len(files) > 8 else ''}"
        )
    parts = [found for name in weights if (found := PART.fullmatch(name))]
    if parts and len(parts) != int(parts[0][1]):
        raise UserError(f"of {parts[0][1]} parts of its weights it has {len(parts)}")
    return settings, [*weights, *_adapters(files, language)]


def _adapters(files: Collection[str], language: str | None) -> list[str]:
    """The adapters for a language, which may be several for several scripts."""
    found = {name: ADAPTER.fullmatch(name) for name in sorted(files)}
    names = {name: each["language"] for name, each in found.items() if each}
    every = sorted({*names.values()})
    if not names or (language is None and len(every) > 1):
        return []
    if language in (None, EVERY):
        chosen = list(names)
    else:
        chosen = [name for name, own in names.items() if own == language] or [
            name for name, own in names.items() if iso639_3(own) == iso639_3(str(language))
        ]
    if not chosen:
        near = difflib.get_close_matches(str(language), every, 3) or every[:3]
        raise UserError(
            f"it has no adapter for the language {language!r}: expected one of {len(every)}, such "
            f"as {', '.join(near)}"
        )
    return [n for n in chosen if n.removesuffix(".bin") + ".safetensors" not in names]


def _fetch(asked: HubId, language: str | None) -> Path:
    try:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import OfflineModeIsEnabled
    except ImportError:
        raise UserError(
            f"{_not_here(asked)}. For models of the Hugging Face Hub install huggingface_hub (pip "
            f"install 'speechx[hf]'), or {BY_HAND}.{_similar(asked)}"
        ) from None
    endpoint, cache = _from_environment(constants)
    cached, lacking = _cached(asked, language, cache)
    if cached is not None and COMMIT.fullmatch(asked.revision):  # which never changes
        whole = language != EVERY and _adapters(_files(cached), language)
        if language is None or whole:
            return cached
    try:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise OfflineModeIsEnabled
        info = HfApi(endpoint=endpoint).model_info(
            asked.repo, revision=asked.revision, files_metadata=True, timeout=SECONDS
        )
    except Exception as error:  # of requests, httpx or huggingface_hub, depending on its version
        why, advice = _refused(error, asked) or (_silent(error, endpoint), OFFLINE)
        if cached is None:
            raise UserError(
                f"{_not_here(asked, lacking)}, and {why}: {advice}.{_similar(asked)}"
            ) from error
        logger.info(f"{asked.repo}: uses revision {cached.name} of the cache, because {why}")
        return cached
    try:
        return _download(asked, info, language, endpoint, cache)
    except UserError as error:
        raise UserError(f"{asked.repo} of the Hugging Face Hub: {error}") from error.__cause__
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # of the disk
            raise
        why, advice = _refused(error, asked) or (
            f"the download stopped, because {_silent(error, endpoint)}",
            "what has arrived is kept, and the next call goes on from there",
        )
        raise UserError(f"{asked.repo}: {why}: {advice}") from error


def _from_environment(constants: Any) -> tuple[str, str]:
    """The address of the hub, and the folder of the cache."""
    home = os.environ.get("HF_HOME")
    place = os.environ.get("HF_HUB_CACHE") or (os.path.join(home, "hub") if home else None)
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    return endpoint.rstrip("/"), os.path.expanduser(place or constants.HF_HUB_CACHE)


def _cached(asked: HubId, language: str | None, cache_dir: str) -> tuple[Path | None, str]:
    """The folder in the cache if it has all that is read; else what it lacks, if it has some."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                asked.repo, revision=asked.revision, cache_dir=cache_dir, local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None, ""
    try:
        wanted(_files(folder), language)
    except UserError as error:
        return None, str(error)
    return folder, ""


def _files(folder: Path) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]


def _download(asked: HubId, info: Any, language: str | None, endpoint: str, cache: str) -> Path:
    """Fetches what the cache lacks, the settings first."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    settings, weights = wanted(sizes, language)
    new = [
        name
        for name in (*settings, *weights)
        if not isinstance(try_to_load_from_cache(asked.repo, name, cache, info.sha), str)
    ]
    folder, revision = Path(), asked.revision
    for name in (*settings, *weights):
        if name == weights[0] and "config.json" in settings:
            require_wav2vec2(folder)
        if name == weights[0] and new:
            _announce(asked, info, sum(sizes[name] for name in new), len(new), cache)
        file = hf_hub_download(
            asked.repo, name, revision=revision, endpoint=endpoint, cache_dir=cache,
            etag_timeout=SECONDS, library_name="speechx",
        )  # fmt: skip
        folder = Path(file).parents[name.count("/")]
        revision = folder.name  # of the first file; the branch may move meanwhile
    return folder


def _announce(asked: HubId, info: Any, size: int, count: int, place: str) -> None:
    """Logs the size and the licence of a download; refuses what the disk has no room for."""
    card = info.card_data
    licence = (card.get("license_name") or card.get("license")) if card else None
    there = next(folder for folder in (Path(place), *Path(place).parents) if folder.exists())
    if shutil.disk_usage(there).free < size:
        raise UserError(
            f"its {_readable(size)} do not fit on the disk of {place}; make room there, or set "
            "HF_HOME to a folder on another disk"
        )
    licence = ", ".join(licence) if isinstance(licence, list) else licence
    logger.info(
        f"{asked.repo}, revision {info.sha}: {_readable(size)} in {number_of(count, 'file')} to "
        "download, "
        f"licence: {licence or 'not stated'}; they are kept in {place}"
    )


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _not_here(asked: HubId, lacking: str = "") -> str:
    cache = f"incomplete in the cache ({lacking})" if lacking else "not in the cache"
    at = "" if asked.revision == "main" else f"@{asked.revision}"
    return f"{asked.repo}{at} is no path here and {cache}"


def _similar(asked: HubId) -> str:
    """A path that the user may have meant."""
    path = Path(asked.repo)
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, 1)
    return f" Did you mean {path.parent / near[0]}?" if near else ""


def _refused(error: Exception, asked: HubId) -> tuple[str, str] | None:
    """Why the hub does not give the model, and what to do; None if it did not answer."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return (
            "its owner gives it only to users who accept terms",
            f"accept them on its page of the hub, then {LOGIN}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {asked.revision}", "expected a branch, a tag or a whole commit"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return "the hub has no public model of this name", f"for a private one {LOGIN}"
    if status == 403:
        return "the hub refuses access to it", f"{LOGIN}, with a token that may read it"
    return None


def _silent(error: Exception, endpoint: str) -> str:
    """Why there is no answer of the hub."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids the network"
    status = getattr(getattr(error, "response", None), "status_code", None)
    what = f"status {status}" if status else type(error).__name__
    return f"the hub at {endpoint} cannot be reached ({what})"
