"""Build arguments: who sees which."""

from handlers.build.arguments import Arguments


def test_what_a_stage_sees():
    arguments = Arguments({"GIVEN": "g", "NAMED": None, "OTHER": "o"})
    arguments.declare_global("BASE", "b")
    assert arguments.for_bases() == {"BASE": "b"}
    assert arguments.in_stage({}) == {}
    arguments.declare("BASE", None)
    arguments.declare("GIVEN", "default")
    arguments.declare("NAMED", None)
    arguments.declare("OWN", "x")
    assert arguments.in_stage({}) == {"BASE": "b", "GIVEN": "g", "OWN": "x"}
    assert arguments.in_stage({"OWN": "of the environment"}) == {"BASE": "b", "GIVEN": "g"}
    assert arguments.unused() == ("OTHER",)
    arguments.begin_stage()
    assert arguments.in_stage({}) == {}


def test_proxies_are_there_undeclared_and_leave_no_trace():
    arguments = Arguments({"HTTP_PROXY": "p", "no_proxy": "n"})
    seen = arguments.in_stage({})
    assert seen == {"HTTP_PROXY": "p", "no_proxy": "n"}
    assert arguments.for_history(seen) == ()
    assert arguments.unused() == ()
    arguments.declare("HTTP_PROXY", None)
    assert arguments.for_history(seen) == ("HTTP_PROXY=p",)
