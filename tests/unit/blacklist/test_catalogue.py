# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptors: every mistake is named with its file and key; the shipped ones are right and documented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.blacklist import catalogue
from sentinel.blacklist.catalogue import (
    Feed,
    parse_allow_argument,
    parse_feed_argument,
    read_descriptors,
    select,
    shipped_descriptors,
)
from sentinel.blacklist.formats.registry import FORMATS
from sentinel.blacklist.keys import KEYS
from sentinel.errors import ConfigError

ROOT = Path(__file__).parents[3]
GOOD = 'title = "T"\nurl = "https://feeds.example/l"\nformat = "plain"\nlicence = "CC0"\n'


def findings(folder: Path, text: str, name: str = "own.toml") -> list[str]:
    (folder / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_descriptors(folder)
    return caught.value.findings


def test_shipped_feeds() -> None:
    feeds = shipped_descriptors()
    assert {"et-compromised", "et-block", "demo"} <= set(feeds)
    assert feeds["et-block"].revision_url.endswith("/FWrev")
    assert feeds["et-compromised"].min_interval_s == 43_200
    assert all(feed.title and feed.licence and feed.attribution for feed in feeds.values())
    assert feeds["demo"].path is not None
    assert feeds["demo"].path.is_file()


def test_shipped_feeds_are_found_installed_and_in_a_checkout(tmp_path: Path) -> None:
    assert (catalogue.shipped_folder() / "et-block.toml").is_file()
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "README.md").touch()
    program = (
        "import sentinel, sys; sentinel.__path__.insert(0, sys.argv[1]); "
        "from sentinel.blacklist.catalogue import shipped_folder; print(shipped_folder())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path / "feeds"


def test_every_key_and_format_is_documented_and_no_other() -> None:
    text = (ROOT / "feeds" / "README.md").read_text(encoding="utf-8")
    keys, formats = text.split("## A descriptor of your own")[1].split("## Formats")
    assert re.findall(r"^\| `(\w+)` \|", keys, re.MULTILINE) == list(KEYS)
    assert re.findall(r"^\| `([\w-]+)` \|", formats, re.MULTILINE) == list(FORMATS)


def test_the_table_of_feeds_is_that_of_the_descriptors() -> None:
    text = (ROOT / "feeds" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.-]+)` \| (.+?) \| `([\w-]+)` \| (\w+) \| (.+?) \|$", text, re.MULTILINE)
    shipped = {
        (feed.name, feed.title, feed.format, feed.min_interval_s, feed.licence)
        for feed in shipped_descriptors().values()
    }
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    assert {(n, t, f, float(int(i[:-1]) * seconds[i[-1]]), lic) for n, t, f, i, lic in rows} == shipped


def test_the_example_of_the_documentation_is_good(tmp_path: Path) -> None:
    text = (ROOT / "feeds" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "honeypots.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    assert read_descriptors(tmp_path)["honeypots"].group == "honeypot"


def test_defaults_and_relative_paths(tmp_path: Path) -> None:
    text = GOOD.replace("url =", "file =") + 'ca_file = "ca.pem"\n'
    (tmp_path / "own.toml").write_text(text.replace("https://feeds.example/l", "lists/own.txt"))
    feed = read_descriptors(tmp_path)["own"]
    assert (feed.name, feed.group, feed.min_interval_s) == ("own", "own", 43_200)
    assert (feed.path, feed.ca_file) == (tmp_path / "lists/own.txt", tmp_path / "ca.pem")
    assert not feed.empty_is_legal
    assert not feed.reserved_is_legal


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ('licens = "x"', "unknown key 'licens', nearest is 'licence'"),
        ('name = "other"', "name = 'other': expected 'own', as the file is called"),
        ("group = 5", "group = 5: expected text"),
        ('group = "a\\nb"', "group = 'a\\nb': expected at most 80 printable characters"),
        ('min_interval = "12"', "min_interval = '12': expected a duration with its unit, like \"12h\" (s, m, h, d)"),
        ("min_interval = 12", 'min_interval = 12: expected a duration with its unit, like "12h" (s, m, h, d)'),
        ("expected_entries = -1", "expected_entries = -1: expected a number, 0 or more"),
        ("confidence = 101", "confidence = 101: expected a number from 0 to 100"),
        ("confidence = true", "confidence = True: expected a number from 0 to 100"),
        ("expected_entries = true", "expected_entries = True: expected a number, 0 or more"),
        ('empty_is_legal = "yes"', "empty_is_legal = 'yes': expected true or false"),
        ('homepage = "ftp://x/"', "homepage = 'ftp://x/': expected http:// or https:// and a host"),
        ('homepage = "http://["', "homepage = 'http://[': expected http:// or https:// and a host"),
        ('homepage = "http://x:99999/"', "homepage = 'http://x:99999/': expected http:// or https:// and a host"),
        ('file = "x"', "url, file: expected exactly one of them"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, line: str, finding: str) -> None:
    assert findings(tmp_path, GOOD + line + "\n") == [f"own.toml: {finding}"]


def test_all_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "Bad Name.toml").write_text(GOOD)
    (tmp_path / "broken.toml").write_text("title = ")
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    (tmp_path / "large.toml").write_bytes(b"#" * 70_000)
    found = findings(tmp_path, 'url = "x"\nformat = "plane"\ntoken_file = "t"\nrevision_url = "http://x/"\n')
    assert [line.split(":")[0] for line in found] == [
        *("Bad Name.toml", "broken.toml", "large.toml", "latin.toml"),
        *["own.toml"] * 5,
    ]
    assert "own.toml: format = 'plane': unknown format 'plane', nearest is 'plain'" in found
    assert "own.toml: title: missing" in found
    assert "own.toml: token_file: only with an https url" in found


def test_feeds_are_chosen_by_name() -> None:
    feeds = shipped_descriptors()
    assert [feed.name for feed in select(["demo", "et-block", "demo"], feeds)] == ["demo", "et-block"]
    with pytest.raises(ConfigError) as caught:
        select(["et-blok", "demo", "xyz"], feeds)
    assert caught.value.findings[0] == "unknown feed 'et-blok', nearest is 'et-block'"
    assert len(caught.value.findings) == 2


def test_the_default_set_is_what_everybody_may_use() -> None:
    feeds = shipped_descriptors()
    assert [feed.name for feed in select(["demo", "default"], feeds)] == [
        "demo",
        "spamhaus-drop-v4",
        "spamhaus-drop-v6",
    ]
    text = (ROOT / "feeds" / "README.md").read_text(encoding="utf-8")
    said = text.split('`[feeds] enabled = ["default"]`')[1].split(":")[0]
    assert re.findall(r"`([\w-]+)`", said) == [feed.name for feed in select(["default"], feeds)]


def test_headers_and_certificates_of_a_descriptor(tmp_path: Path) -> None:
    text = 'client_cert = "c.pem"\nmember = "a.txt"\nheaders = {Accept = "x/y"}\nheader_files = {X-Key = "key"}\n'
    (tmp_path / "own.toml").write_text(GOOD + text)
    feed = read_descriptors(tmp_path)["own"]
    assert (feed.headers, feed.header_files) == ((("Accept", "x/y"),), (("X-Key", tmp_path / "key"),))
    assert (feed.client_cert, feed.client_key, feed.member) == (tmp_path / "c.pem", None, "a.txt")


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ('headers = {Host = "x"}', "headers: Host is ours to send"),
        ('headers = {"a b" = "x"}', "headers: 'a b' is no name of a header"),
        ('headers = {X-Key = "s3cret\\r\\nX: y"}', "headers: X-Key: expected printable ASCII"),
        ("headers = {X-Key = 5}", "headers: X-Key: expected printable ASCII"),
        ('headers = "s3cret"', "headers: expected a table of at most 16 headers"),
        ('client_key = "k"', "client_key: only with client_cert"),
        (
            'token_file = "t"\nheader_files = {authorization = "a"}',
            "token_file: is the Authorization header, which stands among the headers already",
        ),
    ],
)
def test_a_mistake_in_headers_is_named_and_no_value_repeated(tmp_path: Path, line: str, finding: str) -> None:
    assert findings(tmp_path, GOOD + line + "\n") == [f"own.toml: {finding}"]


def test_secrets_need_tls(tmp_path: Path) -> None:
    text = GOOD.replace("https", "http") + 'client_cert = "c"\nheader_files = {X-Key = "k"}\n'
    assert findings(tmp_path, text) == [
        f"own.toml: {key}: only with an https url" for key in ("header_files", "client_cert")
    ]


@pytest.mark.parametrize(
    ("argument", "text", "parts"),
    [
        ("a.txt", "1.1.1.1", ("plain", "a")),
        ("a.json", '\ufeff {"list": []}', ("misp-warninglist", "a")),
        ("a.json:plain:g", '{"list": []}', ("plain", "g")),
        ("a.json::g", '{"list": []}', ("misp-warninglist", "g")),
    ],
)
def test_a_list_of_what_never_matches(
    argument: str, text: str, parts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(argument.split(":", maxsplit=1)[0]).write_text(text, encoding="utf-8")
    feed = parse_allow_argument(argument)
    assert (feed.format, feed.group) == parts
    assert feed.allows


def test_names_of_files_become_names_of_feeds(tmp_path: Path) -> None:
    assert Feed.for_file(tmp_path / "My Liste (2).TXT").name == "my-liste-2"
    assert Feed.for_file(tmp_path / "....txt").name == "file"
    own = Feed.for_file(tmp_path / "own.txt", "et-block", "g")
    assert (own.format, own.group, own.reserved_is_legal, own.empty_is_legal) == ("et-block", "g", True, True)
    same = catalogue.with_distinct_names([own, own, Feed.for_file(tmp_path / "own-2.txt"), own])
    assert [feed.name for feed in same] == ["own", "own-2", "own-2-2", "own-3"]


@pytest.mark.parametrize(
    ("name", "argument", "parts"),
    [
        ("own.txt", "own.txt", ("own.txt", "plain", "own")),
        ("own.txt", "own.txt:et-block", ("own.txt", "et-block", "own")),
        ("own.txt", "own.txt:plain:c2", ("own.txt", "plain", "c2")),
        ("own.txt", "own.txt::c2", ("own.txt", "plain", "c2")),
        ("own.txt", "own.txt:plain:c2:late", ("own.txt", "plain", "c2:late")),
        ("a:plain", "a:plain", ("a:plain", "plain", "a-plain")),
        ("a:plain", "a:plain:et-block:g", ("a:plain", "et-block", "g")),
        ("12:30:00.txt", "12:30:00.txt", ("12:30:00.txt", "plain", "12-30-00")),
    ],
)
def test_the_command_lines_argument(
    name: str, argument: str, parts: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    feed = parse_feed_argument(argument)
    assert (str(feed.path), feed.format, feed.group) == parts


@pytest.mark.parametrize("argument", ["", ":", "no.txt", "no.txt:plain", "own.txt:plane", "own.txt:plane:g"])
def test_a_wrong_argument_is_explained(argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.txt").touch()
    with pytest.raises(ConfigError) as caught:
        parse_feed_argument(argument)
    assert ("nearest is 'plain'" if "plane" in argument else "no such file") in str(caught.value)
