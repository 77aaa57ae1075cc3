"""An in-memory server of the Hugging Face Hub protocol, for tests with the real clients on loopback.

    with HubServer(tokens={"hf_test"}) as hub:
        api = HfApi(endpoint=hub.url, token="hf_test")

`datasets`, `transformers` and the functions of `huggingface_hub` read HF_ENDPOINT when they are imported:
run them in a subprocess with HF_ENDPOINT=hub.url. Large files go through Git LFS, not Xet: set
HF_HUB_DISABLE_XET=1, or in a running process `huggingface_hub.constants.HF_HUB_DISABLE_XET = True`.

As on the Hub, a new repository starts with a commit that holds `.gitattributes`. Every commit is a full
snapshot whose SHA depends only on content and history. Look at results with
`hub.repos["dataset", "user/name"].commits[-1].files["train.csv"]`, at traffic with `hub.requests`, and inject
faults with `hub.fail_next`. Not covered: branches, pull requests, .gitignore rules, paged listings, redirects
to a CDN, rights by namespace.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

Json = dict[str, Any]
LFS_SUFFIXES = (".arrow", ".bin", ".gz", ".npy", ".onnx", ".parquet", ".pkl", ".pt", ".safetensors", ".zip")
LFS_SIZE = 10 * 1024**2  # larger files go through LFS whatever their name
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)


@dataclass(frozen=True)
class Commit:
    sha: str
    title: str
    description: str
    files: dict[str, bytes]
    entries: dict[str, Json]  # what a listing says of each file; an LFS file has "lfs"

    def listing(self, folder: str = "") -> dict[str, Json]:
        """All files and folders below a folder."""
        found: dict[str, Json] = {}
        for path, entry in self.entries.items():
            if path.startswith(folder):
                for slash in re.finditer("/", path[len(folder) :]):
                    parent = path[: len(folder) + slash.start()]
                    oid = hashlib.sha1(parent.encode()).hexdigest()
                    found[parent] = {"type": "directory", "path": parent, "size": 0, "oid": oid}
                found[path] = entry
        return found


@dataclass
class Repo:
    type: str  # "model", "dataset" or "space"
    id: str
    private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes | None] = field(default_factory=dict)  # LFS, by SHA-256; None: announced

    @property
    def web_path(self) -> str:
        return f"/{self.id}" if self.type == "model" else f"/{self.type}s/{self.id}"

    def add_commit(self, title: str, description: str, files: dict[str, bytes], lfs: set[str]) -> Commit:
        entries = {path: _entry(path, files[path], path in lfs) for path in sorted(files)}
        parent = self.commits[-1].sha if self.commits else ""
        oids = [(path, entry["oid"]) for path, entry in entries.items()]
        identity = json.dumps([self.type, self.id, parent, title, description, oids]).encode()
        self.commits.append(Commit(hashlib.sha1(identity).hexdigest(), title, description, files, entries))
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        """The commit of `main`, of a tag or with a full SHA."""
        sha = self.commits[-1].sha if revision == "main" else self.tags.get(revision, revision)
        for commit in self.commits:
            if commit.sha == sha:
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def _entry(path: str, data: bytes, lfs: bool) -> Json:
    entry: Json = {"type": "file", "path": path, "size": len(data)}
    if lfs:  # Git holds a pointer in place of the content
        sha = hashlib.sha256(data).hexdigest()
        data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n".encode()
        entry["lfs"] = {"oid": sha, "sha256": sha, "size": entry["size"], "pointerSize": len(data)}
    return entry | {"oid": hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()}


@dataclass
class Reply:
    body: Any = b""  # bytes, or something to send as JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class HubError(Exception):
    """An error as the Hub reports it: the clients choose their exception by status and X-Error-Code."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        ascii_message = message.encode("ascii", "backslashreplace").decode()
        headers |= {"X-Error-Message": ascii_message} | ({"X-Error-Code": code} if code else {})
        self.reply = Reply({"error": message}, status, headers)


class Fault(NamedTuple):
    status: int  # 0: the connection is cut in the middle of the request
    match: str
    applied: bool


class HubServer:
    """Serves inside the `with` block; `tokens` may read and write, `read_tokens` only read."""

    def __init__(self, tokens: Iterable[str], *, read_tokens: Iterable[str] = (), user: str = "user") -> None:
        self.roles = dict.fromkeys(read_tokens, "read") | dict.fromkeys(tokens, "write")
        self.user = user
        self.repos: dict[tuple[str, str], Repo] = {}  # by type and id
        self.requests: list[tuple[str, str]] = []  # method and path, as received, without the query
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.stopped = False
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopped = True
        self._http.shutdown()
        self._http.server_close()

    def fail_next(self, n: int = 1, *, status: int = 500, match: str = "", applied: bool = False) -> None:
        """Let the next `n` requests with `match` in "METHOD /path" fail. With `applied` they do their work
        and only the answer is an error, as when the connection breaks after a commit. With status 0 the connection
        is cut when half of the request has come."""
        with self.lock:
            self.faults += [Fault(status, match, applied)] * n


Action = Callable[["_Handler"], Reply]
ROUTES: list[tuple[str, str, Action]] = []
API = "/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)"
WEB = "/(?:(?P<type>dataset|space)s/)?(?P<id>[^/]+/[^/]+)"
REV = "(?P<rev>[^/]+)"
PATH = "(?P<path>.+)"


def route(method: str, pattern: str) -> Callable[[Action], Action]:
    def register(action: Action) -> Action:
        ROUTES.append((method, pattern, action))
        return action

    return register


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write: no delayed acknowledgements

    # Transport

    def _serve(self) -> None:
        url, size = urlsplit(self.path), int(self.headers.get("Content-Length", 0))
        if self._is_cut(url.path):
            self.rfile.read(size // 2)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.body: bytes = self.rfile.read(size)
        self.query = parse_qs(url.query)
        if self.hub.stopped:  # a connection that was kept open must not outlive the server
            self.close_connection = True
            return
        with self.hub.lock:
            reply = self._answer(url.path)
        is_json = not isinstance(reply.body, bytes)
        data = json.dumps(reply.body).encode() if is_json else reply.body
        headers = {"Content-Type": "application/json" if is_json else "application/octet-stream"}
        self.send_response(reply.status)
        for name, value in (headers | reply.headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: see `HubServer.requests`."""

    def _is_cut(self, path: str) -> bool:
        with self.hub.lock:
            fault = self._fault(path)
            if fault is None or fault.status:
                return False
            self.hub.requests.append((self.command, path))
            self.hub.faults.remove(fault)
            return True

    def _fault(self, path: str) -> Fault | None:
        return next((fault for fault in self.hub.faults if fault.match in f"{self.command} {path}"), None)

    def _answer(self, path: str) -> Reply:
        self.hub.requests.append((self.command, path))
        if fault := self._fault(path):
            self.hub.faults.remove(fault)
            if fault.applied:
                self._dispatch(path)
            return HubError(fault.status, "Injected fault").reply
        return self._dispatch(path)

    def _dispatch(self, path: str) -> Reply:
        try:
            return self._find_action(path)(self)
        except HubError as error:
            return error.reply
        except Exception as error:  # not a 5xx: the clients would try again for half a minute
            return HubError(400, f"Malformed request: {error!r}").reply

    def _find_action(self, path: str) -> Action:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.role = self.hub.roles.get(token)
        if token and not self.role:
            raise HubError(401, "Invalid credentials in Authorization header")
        for method, pattern, action in ROUTES:
            if method == self.command.replace("HEAD", "GET") and (match := re.fullmatch(pattern, path)):
                self.args = {name: unquote(value or "") for name, value in match.groupdict().items()}
                return action
        raise HubError(404, f"Not served here: {self.command} {path}")

    # Common checks

    def _need(self, role: str) -> None:
        if not self.role:
            raise HubError(401, "Invalid username or password.")
        if role == "write" and self.role == "read":
            raise HubError(403, "Forbidden: you must use a write token.")

    def _repo(self, role: str = "") -> Repo:
        repo = self.hub.repos.get((self.args["type"] or "model", self.args["id"]))
        if repo is None or (repo.private and not self.role):  # a private one looks like a missing one
            message = "Repository not found" if self.role else "Invalid username or password."
            raise HubError(404 if self.role else 401, message, "RepoNotFound")
        if role:
            self._need(role)
        return repo

    def _commit(self) -> Commit:
        return self._repo().at(self.args["rev"] or "main")

    def _flag(self, name: str) -> bool:
        return self.query.get(name, ["0"])[0].lower() in ("true", "1")

    # Account and repositories

    @route("GET", "/api/whoami-v2")
    def _whoami(self) -> Reply:
        self._need("read")
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": self.role}}
        return Reply({"type": "user", "name": self.hub.user, "fullname": "Test", "orgs": [], "auth": auth})

    @route("POST", "/api/repos/create")
    def _create(self) -> Reply:
        self._need("write")
        wanted = json.loads(self.body)
        private = wanted.get("private") is True or wanted.get("visibility") == "private"
        repo_id = f"{wanted.get('organization') or self.hub.user}/{wanted['name']}"
        repo = Repo(wanted.get("type") or "model", repo_id, private)
        reply = Reply({"url": self.hub.url + repo.web_path, "name": repo.id, "private": private})
        if (repo.type, repo.id) in self.hub.repos:  # the client reads the address from this answer as well
            return Reply(reply.body | {"error": f"You already created this {repo.type} repo"}, 409)
        self.hub.repos[repo.type, repo.id] = repo
        repo.add_commit("initial commit", "", {".gitattributes": GITATTRIBUTES.encode()}, set())
        return reply

    @route("GET", f"{API}(?:/revision/{REV})?")
    def _info(self) -> Reply:
        repo, commit = self._repo(), self._commit()
        siblings: list[Json] = [{"rfilename": path} for path in commit.entries]
        if self._flag("blobs"):
            for sibling, entry in zip(siblings, commit.entries.values(), strict=True):
                sibling |= {"size": entry["size"], "blobId": entry["oid"], "lfs": entry.get("lfs")}
        info = {"id": repo.id, "author": repo.id.split("/")[0], "private": repo.private, "gated": False}
        return Reply(info | {"sha": commit.sha, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    @route("POST", f"{API}/tag/{REV}")
    def _tag(self) -> Reply:
        repo, tag = self._repo("write"), json.loads(self.body)["tag"]
        if tag in repo.tags:
            raise HubError(409, f"Tag reference {tag} exists already")
        repo.tags[tag] = self._commit().sha
        return Reply()

    # Uploads: card check, upload modes, LFS objects, commit

    @route("POST", "/api/validate-yaml")
    def _validate_yaml(self) -> Reply:
        header = re.match(r"---\r?\n(.*?)\r?\n---\s*(\n|$)", json.loads(self.body)["content"], re.DOTALL)
        if not header:
            return Reply({"warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
        try:
            if isinstance(yaml.safe_load(header[1]), dict):
                return Reply({})
            problem = "metadata is not a mapping"
        except yaml.YAMLError as error:
            problem = str(error)
        return Reply({"errors": [{"message": problem}]}, 400)

    @route("POST", f"{API}/preupload/{REV}")
    def _preupload(self) -> Reply:
        self._repo("write")
        entries, files = self._commit().entries, []
        for file in json.loads(self.body)["files"]:
            lfs = file["path"].endswith(LFS_SUFFIXES) or file["size"] > LFS_SIZE
            known = entries.get(file["path"], {})  # by its "oid" the client skips an unchanged file
            oid = known["lfs"]["oid"] if "lfs" in known else known.get("oid")
            mode = {"uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            files.append({"path": file["path"], "oid": oid} | mode)
        return Reply({"files": files})

    @route("POST", rf"{WEB}\.git/info/lfs/objects/batch")
    def _lfs_batch(self) -> Reply:
        repo, objects = self._repo("write"), json.loads(self.body)["objects"]
        for item in objects:
            if repo.objects.setdefault(item["oid"]) is None:  # one without "actions" need not be uploaded
                href = f"{self.hub.url}{repo.web_path}.git/lfs/{item['oid']}"
                item["actions"] = {"upload": {"href": href}}
        return Reply({"transfer": "basic", "objects": objects})

    @route("PUT", rf"{WEB}\.git/lfs/(?P<oid>\w+)")
    def _lfs_upload(self) -> Reply:
        """Comes without a token, as to the signed address of a storage; only for announced objects."""
        repo = self.hub.repos[self.args["type"] or "model", self.args["id"]]
        if self.args["oid"] not in repo.objects or hashlib.sha256(self.body).hexdigest() != self.args["oid"]:
            raise HubError(403, "The object was not announced or has another content")
        repo.objects[self.args["oid"]] = self.body
        return Reply()

    @route("POST", f"{API}/commit/main")
    def _add_commit(self) -> Reply:
        repo = self._repo("write")
        head, header = repo.commits[-1], {}
        files = dict(head.files)
        lfs = {path for path, entry in head.entries.items() if "lfs" in entry}
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value, path = item["key"], item["value"], item["value"].get("path")
            if key == "header":
                header = value
            elif key == "file":
                files[path] = base64.b64decode(value["content"])
                lfs.discard(path)
            elif key == "lfsFile":
                if (data := repo.objects.get(value["oid"])) is None:
                    raise HubError(400, f"The LFS object of {path} was not uploaded")
                files[path] = data
                lfs.add(path)
            elif key in ("deletedFile", "deletedFolder"):
                below = path.rstrip("/") + "/" if key == "deletedFolder" else None
                gone = {p for p in files if (p.startswith(below) if below else p == path)}
                if not gone:
                    raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                files = {p: data for p, data in files.items() if p not in gone}
                lfs -= gone
            else:
                raise HubError(400, f"Unknown operation {key}")
        if self._flag("create_pr"):
            raise HubError(400, "Pull requests are not served here")
        if not head.sha.startswith(header.get("parentCommit", "")):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        commit = repo.add_commit(header["summary"], header.get("description", ""), files, lfs)
        url = f"{self.hub.url}{repo.web_path}/commit/{commit.sha}"
        return Reply({"success": True, "commitOid": commit.sha, "commitUrl": url})

    # Listings and downloads

    @route("GET", f"{API}/tree/{REV}(?:/{PATH})?")
    def _tree(self) -> Reply:
        commit, folder = self._commit(), f"{self.args['path'].strip('/')}/".lstrip("/")
        found = commit.listing(folder)
        if folder and not found:
            raise HubError(404, f"{folder} does not exist", "EntryNotFound", X_Repo_Commit=commit.sha)
        deep = self._flag("recursive")
        return Reply([e for path, e in found.items() if deep or path.count("/") == folder.count("/")])

    @route("POST", f"{API}/paths-info/{REV}")
    def _paths_info(self) -> Reply:
        found = self._commit().listing()
        is_form = "form" in self.headers.get("Content-Type", "")
        wanted = parse_qs(self.body.decode()) if is_form else json.loads(self.body)
        return Reply([found[path] for path in wanted["paths"] if path in found])

    @route("GET", f"{WEB}/resolve/{REV}/{PATH}")
    def _resolve(self) -> Reply:
        commit, path = self._commit(), self.args["path"]
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        data, entry = commit.files[path], commit.entries[path]
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(data))}
        headers["ETag"] = headers.get("X-Linked-Etag", f'"{entry["oid"]}"')
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, stop = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
            if start >= stop:
                raise HubError(416, "Range not satisfiable", Content_Range=f"bytes */{len(data)}")
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            return Reply(data[start:stop], 206, headers)
        return Reply(data, 200, headers)
