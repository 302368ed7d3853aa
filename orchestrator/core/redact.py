"""Obvious secrets out of text that is about to be shown, logged or exported."""

from __future__ import annotations

import re

MASK = "[redacted]"

#: Each pattern has a group `keep` for what may stay, or masks the whole match. Every repetition runs over one class of
#: characters that what follows cannot be part of, so that no text makes the search slow.
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        # keys that can be known by their beginning
        r"\bsk-(?=[\w-]{0,60}\d)[\w-]{20,}",  # OpenAI, Anthropic and others; a digit, for `sk-` begins words as well
        r"\b(?:gh[opusr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
        r"\bglpat-[\w-]{20,}",
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
        r"\bxox[abeoprs]-[\w-]{10,}",
        r"\bAIza[\w-]{35}",
        r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}|hf_[A-Za-z0-9]{30,}|[rs]k_live_[A-Za-z0-9]{16,})",
        r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*",  # JSON web tokens
        r"(?s)-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{1,10000}?-----END [A-Z ]{0,30}PRIVATE KEY-----",
        # values that can be known by what stands before them
        r"(?i)(?P<keep>\bauthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:bearer|basic|token|digest)\s{1,4})[^\s\"',;]{3,}",
        r"(?i)(?P<keep>\bauthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)[^\s\"',;\[]{16,}",
        r"(?i)(?P<keep>\bbearer\s{1,4})[\w.~+/-]{16,}=*",
        r"(?i)(?P<keep>\bx-api-key[\"']?\s{0,4}[:=]\s{0,4}[\"']?)[^\s\"',;]{8,}",
        r"(?i)(?P<keep>\baws_?secret_?access_?key[\"']?\s{0,4}[:=]\s{0,4}[\"']?)[A-Za-z0-9/+]{20,}=*",
        r"(?P<keep>(?<![A-Za-z0-9_])(?:[A-Z0-9]{1,40}_){0,8}(?:TOKEN|SECRET|PASSWORD|PASSWD)=[\"']?)[^\s\"'\[]{6,}",
        r"(?P<keep>(?<![A-Za-z0-9_])(?:[A-Z0-9]{1,40}_){1,8}KEY=[\"']?)[^\s\"'\[]{6,}",
        r"(?P<keep>\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/?#:@\"']{0,200}:)[^\s/?#@\"']{1,400}(?=@)",
        r"(?P<keep>\b[A-Za-z][A-Za-z0-9+.-]{1,20}://)[^\s/?#:@\"']{20,400}(?=@)",  # a token as the user's name
    )
)

#: what each of them needs somewhere in the text; most lines have none of it
_HINT = re.compile(
    r"(?i)sk-|gh[opusr]_|github_pat_|glpat-|A(?:KIA|SIA|BIA|CCA)|xox|AIza|npm_|pypi-|hf_|k_live_|eyJ|-----BEGIN"
    r"|authorization|bearer|x-api-key|aws_?secret|TOKEN=|SECRET=|PASSWORD=|PASSWD=|KEY=|://"
)


def redact(text: str) -> str:
    """The text with everything that looks like a secret masked. Masks may hide too much, and cannot find all."""
    if _HINT.search(text) is None:
        return text
    for pattern in _PATTERNS:
        replacement = rf"\g<keep>{MASK}" if "keep" in pattern.groupindex else MASK
        text = pattern.sub(replacement, text)
    return text
