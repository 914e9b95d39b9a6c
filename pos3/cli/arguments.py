"""Defines the commands and their options, and parses the arguments."""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn, get_args

from pos3.cli import values
from pos3.cli.completion import print_shell_code, profile_names, urls, urls_and_paths
from pos3.cli.output import put_line
from pos3.cli.statuses import STATUS_HELP, WRONG_USAGE
from pos3.cli.suggestions import likely_options, unknown_command
from pos3.options import MirrorOptions, default_cache_root
from pos3.plan import Compare
from pos3.url import masked

# Those options of a mirror that options of commands give.
_MIRROR_OPTIONS = ("cache_root", "max_workers", "max_upload_bytes_per_second", "max_download_bytes_per_second")


# The names of most options fit beside their texts.
_help_formatter = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=27)


class _Parser(argparse.ArgumentParser):
    """A parser that says which command was probably meant."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=_help_formatter, **options)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            raise argparse.ArgumentError(None, unknown_command(self.prog, value, list(action.choices)))
        super()._check_value(action, value)


class _Version(argparse.Action):
    """Looks up the version only on request, because that takes longer than the rest of the start."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            installed = version("pos3")
        except PackageNotFoundError:
            installed = "(not installed)"
        put_line(f"pos3 {installed}")
        parser.exit()


class _ExtraArgs(argparse.Action):
    """Collects names and values; those of Metadata are pairs with commas between them."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: object) -> None:
        collected = dict(getattr(namespace, self.dest) or {})
        name, separator, text = value.partition("=")
        if not separator:
            raise argparse.ArgumentError(self, f"{value!r}: expected NAME=VALUE, such as StorageClass=STANDARD_IA")
        if name == "Metadata":
            collected[name] = dict(pair.partition("=")[::2] for pair in text.split(","))
        else:
            collected[name] = text
        setattr(namespace, self.dest, collected)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments.

    ``name`` is the name of the command, such as "pos3 download", and ``run`` is its function. ``options`` are the
    options of the mirror; those that were not given come from the environment.

    Raises:
        SystemExit: with status 2 after wrong usage. The usage of the command is shown.
    """
    arguments, unknown = parser.parse_known_args(argv)
    command: argparse.ArgumentParser = arguments.parser
    if len(unknown) == 1 and _is_second_address(arguments, unknown[0]):
        message = _two_addresses_message(
            command.prog, arguments.url, unknown[0], sys.argv[1:] if argv is None else argv
        )
        command.exit(WRONG_USAGE, f"{command.prog}: error: {message}\n")
    if unknown:
        known = [option for action in command._actions for option in action.option_strings]
        advice = likely_options(unknown, known) or f"'{command.prog} --help' shows the options"
        command.error(f"unrecognized arguments: {' '.join(map(masked, unknown))}; {advice}")
    arguments.name = command.prog
    for name in ("url", "prefix"):
        if name in arguments:
            # A URL is UTF-8, even if the locale decodes arguments as ASCII.
            setattr(arguments, name, os.fsencode(getattr(arguments, name)).decode("utf-8", "surrogateescape"))
    arguments.options = _options(arguments)
    return arguments


def _options(arguments: argparse.Namespace) -> MirrorOptions:
    given = {name: value for name in _MIRROR_OPTIONS if (value := getattr(arguments, name, None))}
    if arguments.quiet or getattr(arguments, "dry_run", False):
        given["show_progress"] = False
    return MirrorOptions(**given)


def _is_second_address(arguments: argparse.Namespace, unknown: str) -> bool:
    return {"url", "local"} <= vars(arguments).keys() and arguments.local is None and not unknown.startswith("-")


def _two_addresses_message(prog: str, first: str, second: str, argv: Sequence[str]) -> str:
    """The error for a transfer with two positional arguments, such as ``upload PATH URL``, with the right command."""
    urls = [address for address in (first, second) if "://" in address]
    if len(urls) != 1:
        both = "two URLs" if urls else "two local paths"
        return f"it works between one URL and one local path, not between {both}: {prog} s3://BUCKET/KEY --local PATH"
    path = second if urls == [first] else first
    options = list(argv)
    for word in (*prog.split()[1:], first, second):
        options.remove(word)
    correct = shlex.join([*prog.split(), masked(urls[0]), "--local", path, *options])
    return f"the URL comes first, and the local path after --local: {correct}"


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pos3",
        usage="%(prog)s [OPTIONS] COMMAND ...",
        description="Copies files between local paths and S3. Only results go to stdout.",
        epilog=f"{_EXAMPLES}\n{STATUS_HELP}",
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    _add_verbosity(parser, False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog=parser.prog)
    _add_ls(commands)
    _add_partition(commands)
    _add_download(commands)
    _add_upload(commands)
    _add_sync(commands)
    _add_fingerprint(commands)
    _add_check(commands)
    _add_du(commands)
    _add_recover(commands)
    _add_status(commands)
    _add_doctor(commands)
    _add_profile_commands(commands)
    _add_cache(commands)
    _add_runs(commands)
    completion = _command(
        commands,
        "completion bash|zsh|fish",
        print_shell_code,
        "print the code with which a shell completes 'pos3'",
        description="Prints the code with which a shell completes 'pos3'.",
        examples="""\
  eval "$(pos3 completion bash)"     (in ~/.bashrc; with zsh in ~/.zshrc)
  pos3 completion fish > ~/.config/fish/completions/pos3.fish""",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    return parser


def _load_on_run(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """The function of a command. Its module is loaded only when the command runs, so that ``--help`` is fast."""

    def run(arguments: argparse.Namespace) -> int:
        status: int = getattr(import_module(f"pos3.cli.{module}"), function)(arguments)
        return status

    return run


_EXAMPLES = """\
examples:
  pos3 ls -r s3://bucket/data
  pos3 download s3://bucket/data --local ./data
  pos3 upload s3://bucket/results --local ./results --dry-run
  pos3 sync s3://bucket/data --local ./data
'pos3 COMMAND --help' shows the options of a command, and examples.
Credentials and endpoint come from the settings of boto3
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ~/.aws), or from --profile.
"""


def _command(
    commands: argparse._SubParsersAction[_Parser],
    usage: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    examples: str,
    description: str = "",
) -> argparse.ArgumentParser:
    """Adds a command.

    Args:
        usage: the name of the command, and its arguments as the usage shows them.
        summary: the text in the list of commands.
        examples: lines of the help, each indented by two blanks.
    """
    name, _, shown_arguments = usage.partition(" ")
    heading = "examples" if "\n" in examples else "example"
    command = commands.add_parser(
        name,
        usage=f"%(prog)s [OPTIONS] {shown_arguments}".rstrip(),
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{heading}:\n{examples}",
    )
    command.set_defaults(run=run, parser=command)
    # An option before the command has effect unless it is repeated after the command.
    _add_verbosity(command, argparse.SUPPRESS)
    return command


def _add_verbosity(parser: argparse.ArgumentParser, default: Any) -> None:
    for short, name, text in (
        ("-v", "--verbose", "show debug messages, and tracebacks of errors"),
        ("-q", "--quiet", "write only warnings and errors to stderr"),
    ):
        parser.add_argument(short, name, action="store_true", default=default, help=text)


def _add_ls(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "ls PREFIX",
        _load_on_run("transfers", "run_ls"),
        "list the objects and prefixes below a prefix",
        description="""\
Lists the objects and prefixes directly below a prefix, one URL a line. If
nothing is there, the exit status is 1.""",
        examples="""\
  pos3 ls s3://                          (all buckets)
  pos3 ls -l s3://bucket/data
  pos3 ls 's3://bucket/run-*/metrics.json'""",
    )
    text = (
        "s3://bucket/key, a part, or a local path; s3:// lists all buckets; * and ? match within a name, "
        "** across names"
    )
    _add_prefix(command, text)
    command.add_argument("-r", "--recursive", action="store_true", help="list all levels")
    command.add_argument(
        "-l", "--long", action="store_true", help="show size, time and storage class, too; with --json, also the ETag"
    )
    times = command.add_mutually_exclusive_group()
    _add_as_of(times, "list what a versioned bucket held at this time: 2026-11-01T12:00Z")
    times.add_argument(
        "--versions",
        action="store_true",
        help="list each version of the objects, also of deleted ones: time, size, version and URL, one a line",
    )
    _add_profile(command)
    _add_json(command, 'one object a line: {"url": ...}')


def _add_partition(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "partition URL (--parts N | --max-bytes SIZE)",
        _load_on_run("partitions", "run_partition"),
        "divide the objects of a URL into parts",
        description="""\
Divides the objects of a URL into parts with about the same number of bytes.
Prints a text for each part, one a line. 'pos3 download' and 'pos3 ls' take
this text instead of a URL, on any machine.""",
        examples="""\
  pos3 partition s3://bucket/data --parts 16 > parts.txt
  pos3 download "$(sed -n 3p parts.txt)" --local ./part""",
    )
    _add_url(command, "s3://bucket/key")
    division = command.add_mutually_exclusive_group(required=True)
    division.add_argument("--parts", metavar="N", type=values.count, help="the number of parts")
    division.add_argument(
        "--max-bytes", metavar="SIZE", type=values.size, help="the most bytes of a part, such as 10GB"
    )
    _add_filters(command)
    _add_profile(command)
    _add_json(command, 'one object a line: {"part", "files", "bytes"}')


def _add_download(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "download URL [--local PATH]",
        _load_on_run("transfers", "run_download"),
        "download a prefix or an object, and print the local path",
        description="""\
Downloads a prefix or an object, and prints the local path.
Deletes local files only with --delete.""",
        examples="""\
  pos3 download s3://bucket/data --local ./data
  data=$(pos3 download s3://bucket/data)""",
    )
    _add_url(command, "s3://bucket/key, or a part")
    _add_transfer(command, "local path to write (default: below the cache root)")
    _add_delete(command, "--delete", "delete local files that the store does not have (off by default)")
    _add_limit(command, "download")
    command.add_argument(
        "--missing-ok", action="store_true", help="if nothing is at the URL, create the local directory"
    )
    command.add_argument(
        "--require-marker",
        metavar="NAME",
        help="download one complete set: the object NAME below the URL marks the set as complete",
    )
    command.add_argument(
        "--skip-archived",
        action="store_true",
        help="leave out objects of the storage classes GLACIER and DEEP_ARCHIVE",
    )
    _add_as_of(command, "download what a versioned bucket held at this time: 2026-11-01T12:00Z")
    command.add_argument(
        "--fingerprint", metavar="TEXT", help="download only if 'pos3 fingerprint URL' still prints this text"
    )
    command.add_argument(
        "--adopt", action="store_true", help="allow --delete in a non-empty directory that pos3 has never filled"
    )


def _add_upload(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "upload URL [--local PATH]",
        _load_on_run("transfers", "run_upload"),
        "upload a local path, once",
        description="Uploads a local path, once. Deletes objects only with --delete.",
        examples="""\
  pos3 upload s3://bucket/results --local ./results
  pos3 upload -n --delete s3://bucket/results --local ./results""",
    )
    _add_url(command, "s3://bucket/key")
    _add_transfer(command, "local path to read; it must exist (default: below the cache root)")
    _add_delete(command, "--delete", "delete objects that have no local file (off by default)")
    _add_limit(command, "upload")
    _add_upload_last(command)
    _add_extra_args(command)


def _add_sync(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "sync URL [--local PATH]",
        _load_on_run("transfers", "run_sync"),
        "bring both sides up to date, once or until stopped",
        description="""\
Uploads what is new or changed locally, downloads what is new or changed in
the store, and prints the local path. A file that has changed on both sides is
a conflict: it is listed, and nothing is changed. With --interval or --watch,
the command goes on and uploads local changes until SIGINT (Ctrl-C) or SIGTERM.
Then it pushes once more. If this push succeeds, the exit status is 0.""",
        examples="""\
  pos3 sync s3://bucket/data --local ./data
  pos3 sync s3://bucket/logs --local ./logs --interval 60""",
    )
    _add_url(command, "s3://bucket/key; it need not exist yet")
    _add_transfer(command, "the local path (default: below the cache root)")
    _add_delete(
        command,
        "--delete-local",
        "delete local files that were synced and are gone from the store (off by default)",
    )
    _add_delete(command, "--delete-remote", "delete objects that were synced and are gone locally (off by default)")
    _add_limit(command, "upload")
    _add_limit(command, "download")
    _add_upload_last(command)
    command.add_argument(
        "--interval",
        metavar="SECONDS",
        type=values.interval,
        help="go on, and upload changes with this pause in between",
    )
    command.add_argument(
        "--watch",
        action="store_true",
        help="go on, and upload each file within two seconds after it was closed; everything is pushed every 300 s, "
        "or as --interval says",
    )


def _add_fingerprint(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "fingerprint URL",
        _load_on_run("fingerprints", "run_fingerprint"),
        "print a text that changes when the objects change",
        description="""\
Prints a text that changes if the key, size or ETag of any object changes, and
only then. 'pos3 download --fingerprint TEXT' downloads only if the objects are
still the same.""",
        examples="""\
  pos3 fingerprint s3://bucket/data""",
    )
    _add_url(command, "s3://bucket/key, or a part")
    _add_filters(command)
    _add_profile(command)
    _add_json(command, 'one object: {"url": ..., "fingerprint": ...}', or_nul=False)


def _add_check(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "check URL [--local PATH]",
        _load_on_run("checks", "run_check"),
        "compare a local path with a URL, and print what differs",
        description="""\
Compares a local path with a prefix or an object, as a download does. Prints
the files that differ, and the files that only one side has. If there are any,
the exit status is 1. Transfers nothing and changes nothing.""",
        examples="""\
  pos3 check s3://bucket/data --local ./data""",
    )
    _add_url(command, "s3://bucket/key")
    _add_local(command, "local path to compare; it must exist (default: below the cache root)")
    _add_filters(command)
    _add_compare(command)
    _add_max_workers(command)
    _add_profile(command)
    _add_cache_root(command)
    _add_json(command, 'one object a line: {"url", "path", "side", "reason"}')


def _add_du(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "du PREFIX",
        _load_on_run("disk_usage", "run_du"),
        "count files and bytes by directory",
        description="""\
Counts the objects below a prefix, or the files below a local path. Prints the
bytes, the number of files and the name of each directory. The last line is the
total.""",
        examples="""\
  pos3 du s3://bucket/data
  pos3 du -d 0 ./data""",
    )
    _add_prefix(command, "s3://bucket/key, or a local path")
    command.add_argument(
        "-d",
        "--depth",
        metavar="N",
        type=values.depth,
        default=1,
        help="levels to print; 0 prints only the total (default: 1)",
    )
    _add_profile(command)
    _add_max_workers(command)
    _add_json(command, 'one object a line: {"url", "files", "size_bytes"}')


def _add_recover(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "recover",
        _load_on_run("recoveries", "run_recover"),
        "finish uploads that were interrupted",
        description="""\
Finishes uploads that earlier processes on this machine have left: they were
killed, their last push failed, or they could not reach the store. Deletes
nothing, and does not touch uploads of processes that still run. An object that
is newer than the local file stays. If an upload fails, stderr says why, and
the next call tries it again.""",
        examples="""\
  pos3 recover -n
  pos3 recover""",
    )
    command.add_argument(
        "-n", "--dry-run", action="store_true", help="print the actions and reasons, and change nothing"
    )
    _add_max_workers(command)
    _add_limit(command, "upload")
    option = command.add_argument(
        "--profile",
        metavar="NAME",
        help="profile for uploads whose own profile had its keys only in memory; the endpoint must be the same",
    )
    option.completer = profile_names  # type: ignore[attr-defined]
    command.add_argument(
        "--yes",
        action="store_true",
        help="upload also to endpoints that only a journal of unknown origin names; without --yes, "
        "such an upload fails",
    )
    _add_cache_root(command)
    _add_json(command, "one object a line, one for each upload")


def _add_status(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "status",
        _load_on_run("open_mirrors", "run_status"),
        "show the uploads of the open mirrors on this machine",
        description="""\
Shows the uploads of all open mirrors of this user on this machine, in
commands, scripts and flow runs: the process, the last push, and the changes
since then. Sends no request to a store.""",
        examples="""\
  pos3 status""",
    )
    _add_cache_root(command)
    _add_json(command, "one object a line", or_nul=False)


def _add_doctor(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "doctor [URL]",
        _load_on_run("doctors", "run_doctor"),
        "check the machine, the credentials and a URL",
        description="""\
Checks the versions, the cache, the endpoint, the credentials and the clock.
With a URL, it also checks whether you may list, read and write there, and how
fast. Each line is good or bad. A bad line says what to do, and the exit status
is then 1. The test objects that are written below the URL are removed again.""",
        examples="""\
  pos3 doctor
  pos3 doctor s3://bucket/data""",
    )
    option = command.add_argument("prefix", metavar="URL", nargs="?", default="", help="s3://bucket/key")
    option.completer = urls  # type: ignore[attr-defined]
    command.add_argument("--read-only", action="store_true", help="write nothing to the store")
    _add_profile(command)
    _add_cache_root(command)
    _add_json(command, 'one object a line: {"name", "is_good", "told", "advice"}', or_nul=False)


def _add_profile_commands(commands: argparse._SubParsersAction[_Parser]) -> None:
    subcommands = _add_group(commands, "profile", "show the profiles, and check one")

    command = _command(
        subcommands,
        "ls",
        _load_on_run("profiles", "run_ls"),
        "list the profiles of profiles.toml",
        description="""\
Lists the profiles of profiles.toml: name, endpoint, region and kind of
credentials. Prints no secrets.""",
        examples="""\
  pos3 profile ls""",
    )
    _add_json(command, "one object a line", or_nul=False)

    command = _command(
        subcommands,
        "check NAME",
        _load_on_run("profiles", "run_check"),
        "check the endpoint and the credentials of a profile",
        description="""\
Checks a profile: endpoint, credentials, clock, and whether the credentials may
list the buckets. Each line is good or bad. A bad line says what to do, and the
exit status is then 1. Nothing is written.""",
        examples="""\
  pos3 profile check lab""",
    )
    option = command.add_argument("profile", metavar="NAME", help="a profile in profiles.toml")
    option.completer = profile_names  # type: ignore[attr-defined]
    _add_json(command, 'one object a line: {"name", "is_good", "told", "advice"}', or_nul=False)


def _add_transfer(command: argparse.ArgumentParser, local_help: str) -> None:
    _add_local(command, local_help)
    _add_filters(command)
    command.add_argument(
        "-n", "--dry-run", action="store_true", help="print the actions and reasons, and change nothing"
    )
    _add_compare(command)
    command.add_argument(
        "--max-delete",
        metavar="N|N%",
        type=values.max_delete,
        help="refuse to delete more than N files, or N%% of them",
    )
    _add_max_workers(command)
    _add_profile(command)
    _add_cache_root(command)
    _add_json(command, "one JSON object: the report, or with -n the plan")


def _add_as_of(command: argparse._ActionsContainer, text: str) -> None:
    command.add_argument("--as-of", metavar="TIME", help=text)


def _add_url(command: argparse.ArgumentParser, text: str) -> None:
    option = command.add_argument("url", metavar="URL", help=text)
    option.completer = urls  # type: ignore[attr-defined]


def _add_prefix(command: argparse.ArgumentParser, text: str) -> None:
    option = command.add_argument("prefix", metavar="PREFIX", help=text)
    option.completer = urls_and_paths  # type: ignore[attr-defined]


def _add_local(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--local", metavar="PATH", help=text)


def _add_filters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--exclude", metavar="PATTERN", action="append", help="glob of files that are not touched; may be repeated"
    )
    command.add_argument(
        "--include", metavar="PATTERN", action="append", help="glob; all other files are not touched; may be repeated"
    )


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--compare",
        choices=get_args(Compare),
        metavar="MODE",
        default="auto",
        help="how to find changed files: auto (by the records of the last sync), size or checksum",
    )


def _add_json(command: argparse.ArgumentParser, text: str, *, or_nul: bool = True) -> None:
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help=text)
    if or_nul:
        output.add_argument(
            "-0",
            "--null",
            action="store_true",
            help="end each item with NUL, and do not escape names",
        )


def _add_max_workers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-workers",
        metavar="N",
        type=values.count,
        help="most requests at a time (default: found by pos3)",
    )


def _add_limit(command: argparse.ArgumentParser, direction: str) -> None:
    command.add_argument(
        f"--limit-{direction}",
        metavar="SIZE",
        type=values.size_above_zero,
        dest=f"max_{direction}_bytes_per_second",
        help=f"most bytes a second of all {direction}s together: 10MB",
    )


def _add_delete(command: argparse.ArgumentParser, option: str, text: str) -> None:
    command.add_argument(option, action="store_true", help=text)


def _add_extra_args(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--extra-args",
        metavar="NAME=VALUE",
        action=_ExtraArgs,
        help="property of the objects, by boto3's name: StorageClass=STANDARD_IA, Metadata=a=1,b=2; may be repeated",
    )


def _add_upload_last(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--upload-last",
        metavar="PATTERN",
        action="append",
        help="glob of files that are uploaded after all others, such as _SUCCESS; may be repeated",
    )


def _add_profile(command: argparse.ArgumentParser) -> None:
    option = command.add_argument("--profile", metavar="NAME", help="profile in profiles.toml; s3://NAME@... wins")
    option.completer = profile_names  # type: ignore[attr-defined]


def _add_cache_root(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cache-root", metavar="PATH", default=default_cache_root(), help="the cache (default: %(default)s)"
    )


def _add_group(
    commands: argparse._SubParsersAction[_Parser], name: str, summary: str
) -> argparse._SubParsersAction[_Parser]:
    """Adds a command that has commands of its own, and returns the place for these."""
    group = commands.add_parser(
        name, usage="%(prog)s [OPTIONS] COMMAND ...", help=summary, description=f"{summary.capitalize()}."
    )
    group.set_defaults(parser=group)
    _add_verbosity(group, argparse.SUPPRESS)
    return group.add_subparsers(metavar="COMMAND", required=True, prog=group.prog)


def _add_cache(commands: argparse._SubParsersAction[_Parser]) -> None:
    subcommands = _add_group(commands, "cache", "list, prune and check the cache")

    command = _command(
        subcommands,
        "ls",
        _load_on_run("caches", "run_ls"),
        "list the cached paths, least recently used first",
        description="""\
Lists the cached paths, the least recently used one first. A path is "in use"
if an open mirror uses it. It is "dirty" if something in it may not be in the
store. Otherwise it is "clean".""",
        examples="""\
  pos3 cache ls""",
    )
    _add_cache_root(command)
    _add_json(command, "one object a line", or_nul=False)

    command = _command(
        subcommands,
        "prune",
        _load_on_run("caches", "run_prune"),
        "remove cached data that was not used for long",
        description="""\
Removes cached paths, the least recently used one first, and prints them. Keeps
each path that is in use, that was changed or not uploaded, or that is outside
the cache root.""",
        examples="""\
  pos3 cache prune --limit 50GB
  pos3 cache prune --older-than 30d -n""",
    )
    command.add_argument(
        "--limit", metavar="SIZE", type=values.size, help="stop at this size of the cache: 50GB, 512MiB, 0"
    )
    command.add_argument(
        "--older-than",
        metavar="AGE",
        type=values.age,
        help="only paths not used for this time: 30d, 12h, 45m, 2w",
    )
    command.add_argument("-n", "--dry-run", action="store_true", help="print what would be removed, and change nothing")
    _add_cache_root(command)
    _add_json(command, "one object a line")

    command = _command(
        subcommands,
        "verify",
        _load_on_run("caches", "run_verify"),
        "compare cached files with their last sync",
        description="""\
Compares cached files with their last sync. Prints the files that differ or are
missing. If there are any, the exit status is 1.""",
        examples="""\
  pos3 cache verify
  pos3 cache verify --checksum""",
    )
    command.add_argument("--checksum", action="store_true", help="read the files and compare their checksums")
    _add_cache_root(command)
    _add_json(command, "one object a line")


def _add_runs(commands: argparse._SubParsersAction[_Parser]) -> None:
    subcommands = _add_group(commands, "runs", "list and remove the output of flow runs")

    command = _command(
        subcommands,
        "ls URL",
        _load_on_run("runs", "run_ls"),
        "list the flow runs that have output",
        description="""\
Lists the flow runs that have output below an output root. The run that has not
changed for the longest time comes first. The output of a run is at
URL/<flow>/<flow run id>/. Other objects are not listed.""",
        examples="""\
  pos3 runs ls s3://bucket/outputs""",
    )
    _add_output_root(command)
    _add_json(command, "one object a line", or_nul=False)

    command = _command(
        subcommands,
        "prune URL --older-than AGE",
        _load_on_run("runs", "run_prune"),
        "remove the output of old runs",
        description="""\
Prints the runs whose output has not changed for a time. With --yes, it removes
their output from the store. If one object of a run is newer, the whole run is
kept. Nothing else below the output root is touched.""",
        examples="""\
  pos3 runs prune s3://bucket/outputs --older-than 30d
  pos3 runs prune s3://bucket/outputs --older-than 30d --yes""",
    )
    _add_output_root(command)
    command.add_argument(
        "--older-than",
        metavar="AGE",
        type=values.age,
        required=True,
        help="only runs whose newest object is older than this: 30d, 12h, 45m, 2w",
    )
    command.add_argument("--yes", action="store_true", help="remove the output; without --yes, runs are only printed")
    command.add_argument(
        "-n", "--dry-run", action="store_true", help="print what would be removed, and change nothing, even with --yes"
    )
    _add_json(command, "one object a line")


def _add_output_root(command: argparse.ArgumentParser) -> None:
    _add_url(command, "the output root, s3://bucket/outputs (POS3_OUTPUT_ROOT of the flows)")
    command.set_defaults(local=None)
    _add_profile(command)
    _add_max_workers(command)
