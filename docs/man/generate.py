#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a man page from its template: generate.py TEMPLATE BIN VERSION OUTPUT

In a template (mdoc), a line `@help PROGRAM [VERB…]` becomes what `PROGRAM VERB… --help` prints, as lists of options and
verbs; `@verbs` a section for each verb of `weft` that has no page of its own; `@options` the table of the agent's options. So a page knows every option that the program knows.
"""

import os
import re
import subprocess
import sys


def text(s):
    """A line of text for roff: nothing in it is a command."""
    s = s.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("–", "\\(en").replace("−", "\\-").replace("’", "'")
    return ("\\&" + s) if s[:1] in ".'" else s


def said(bin_dir, args):
    return subprocess.run([os.path.join(bin_dir, args[0]), *args[1:]], check=True, stdout=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, timeout=60).stdout




OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")


def is_usage(line):
    return line.lower().startswith("usage: ") or re.match(r"^ {4,}weft", line)


def options_of_help(lines):
    """Lists where lines are indented, paragraphs elsewhere; a line of usage only where it alone names an option."""
    out, in_list, paragraph = [], False, False
    elsewhere = set(OPTION.findall("\n".join(li for li in lines if not is_usage(li))))
    for line in lines:
        if is_usage(line):
            if set(OPTION.findall(line)) - elsewhere:
                out.append(".Dl " + text(re.sub("(?i)^usage: *", "", line).strip()))
                paragraph = True
            continue
        m = re.match(r"^ {2,}(\S.*?)(?: {2,}(\S.*))?$", line)
        if m:
            if not in_list:
                out.append(".Bl -tag -width indent")
            in_list = True
            left, right = m.group(1), m.group(2)
            if not right and " " in left and not left.startswith("-"):
                left, right = left.split(" ", 1)
            out.append(".It " + text(left).replace('"', '\\(dq'))
            if right:
                out.append(text(right))
        else:
            if in_list:
                out.append(".El")
                in_list, paragraph = False, True
            if not line.strip():
                paragraph = bool(out)
                continue
            if paragraph:
                out.append(".Pp")
                paragraph = False
            out.append(text(line.strip()))
    if in_list:
        out.append(".El")
    return out


def verbs(bin_dir):
    out = []
    for verb in re.findall(r"^  ([a-z]+)\b", said(bin_dir, ["weft", "--help"]), re.M):
        if verb not in ("lab", "help", "version"):
            out += [".Ss " + verb] + options_of_help(said(bin_dir, ["weft", verb, "--help"]).splitlines())
    return out


def options_of_table(table):
    out = [".Bl -tag -width indent"]
    for row in table.splitlines()[2:]:
        name, value, default, what = (c.strip().strip("`") for c in row.strip("| \n").split(" | "))
        out += [".It " + text(name), text(what[:1].upper() + what[1:] + "."),
                text("Value: %s. Default: %s." % (value, default))]
    return out + [".El"]


def main():
    template, bin_dir, version, output = sys.argv[1:]
    out = []
    with open(template, encoding="utf-8") as f:
        for line in f.read().splitlines():
            if line.startswith("@help "):
                lines = said(bin_dir, line.split()[1:] + ["--help"]).splitlines()
                out += options_of_help(lines)
            elif line == "@verbs":
                out += verbs(bin_dir)
            elif line == "@options":
                out += options_of_table(said(bin_dir, ["weftd", "--print-options"]))
            else:
                out.append(line.replace("@version@", version))
    with open(output, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
