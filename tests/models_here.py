"""Models as other programs keep them on a machine: the Hugging Face cache, Ollama's store, LM Studio's folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from tests.gguf_files import Model, sparse_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "89abcdef0123456789abcdef0123456789abcdef"
MODEL_LAYER = "application/vnd.ollama.image.model"


def user() -> Path:
    """The home folder of the test."""
    return Path(os.environ["HOME"])


def gguf(path: Path, model: Model, recipe: str = "Q4_K_M") -> Path:
    """A model of its true size whose weights are a hole, with a short vocabulary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return sparse_model(path, model, recipe, small_vocabulary=True)


def in_hub_cache(repo: str, file: str, model: Model, recipe: str = "Q4_K_M", commit: str = COMMIT) -> Path:
    """A file of a repository as huggingface_hub keeps it: a blob, a link in a snapshot, `main`. Returns the link."""
    folder = user() / ".cache/huggingface/hub" / f"models--{repo.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(f"{repo} {file}".encode()).hexdigest()
    if not blob.exists():
        gguf(blob, model, recipe)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs/main").write_text(commit)
    link = folder / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def in_ollama(tag: str, model: Model | None = None, recipe: str = "Q4_K_M", store: Path | None = None) -> Path:
    """A model of Ollama's library, by name and tag, in a store. Returns the blob with its weights."""
    store = store or user() / ".ollama/models"
    name, _, version = tag.partition(":")
    digest = hashlib.sha256(f"{tag} {recipe}".encode()).hexdigest()
    blob = store / "blobs" / f"sha256-{digest}"
    if model is not None:
        gguf(blob, model, recipe)
    layers = [{"mediaType": "application/vnd.ollama.image.license", "digest": f"sha256:{'c' * 64}", "size": 9}]
    layers.append({"mediaType": MODEL_LAYER, "digest": f"sha256:{digest}", "size": blob.stat().st_size if model else 7})
    manifest(store, f"registry.ollama.ai/library/{name}/{version}", {"schemaVersion": 2, "layers": layers})
    return blob


def manifest(store: Path, where: str, content: object) -> Path:
    """Any file in the place of a manifest."""
    path = store / "manifests" / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def in_lm_studio(name: str, model: Model, recipe: str = "Q4_K_M") -> Path:
    """A file as LM Studio keeps it: OWNER/REPO/FILE below its folder."""
    return gguf(user() / ".lmstudio/models" / name, model, recipe)
