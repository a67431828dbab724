"""Names: which are allowed, and one for a container that came without."""

import re

from handlers.containers.errors import InvalidName

PATTERN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

_MANNERS = (
    "able bold brave bright brisk calm canny clear clever cool crisp daring deft eager early fair fast firm fleet fond "
    "frank free fresh gentle glad grand hale hardy honest jolly keen kind lively loyal lucky mellow merry mild modest "
    "neat nimble noble open patient plain prompt proud quick quiet ready sharp sleek smart snug sound spry steady "
    "stout strong sturdy sunny sure swift tidy trim true warm wise witty"
).split()
_SHIPS = (
    "barge bark brig brigantine caravel carrack catamaran clipper coaster cog collier corvette cutter dhow dinghy "
    "dory felucca ferry frigate galleon galley gig hulk icebreaker junk kayak ketch launch lighter lugger "
    "packet pilot pinnace prau punt raft reefer sampan schooner scow shallop skiff sloop smack tanker tender "
    "trawler trimaran tug wherry whaler windjammer xebec yacht yawl"
).split()


def check_name(name: str) -> str:
    """The name without its leading slash. Raises InvalidName."""
    bare = name.removeprefix("/")
    if not PATTERN.fullmatch(bare):
        raise InvalidName(name)
    return bare


def suggest_name(container_id: str, attempt: int) -> str:
    """A name derived from an id: the same id and attempt give the same name, later attempts add a digit."""
    number = int(container_id[:16], 16)
    manner = _MANNERS[number % len(_MANNERS)]
    ship = _SHIPS[number // len(_MANNERS) % len(_SHIPS)]
    return f"{manner}_{ship}" + (str((number >> 40) % 10**attempt) if attempt else "")
