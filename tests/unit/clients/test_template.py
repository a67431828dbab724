"""Formats as people know them from the docker CLI give the same text."""

import pytest

from clients.cli.template import TemplateError, compile_template

WEB = {
    "Name": "/web",
    "State": {"Status": "running", "Pid": 5},
    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None},
    "Words": ["a", "b"],
    "Nothing": None,
    "Label": lambda name: {"x": "y"}.get(name, ""),
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}} {{.State.Status}}", "/web running"),
        ("{{json .State}}", '{"Status":"running","Pid":5}'),
        ("{{.STATE.PID}}", "5"),  # fields of Go and of JSON differ in case
        ("{{range .Words}}[{{.}}]{{end}}", "[a][b]"),
        ("{{range $i, $word := .Words}}{{if $i}},{{end}}{{$word}}{{end}}", "a,b"),
        (
            "{{range $port, $to := .Ports}}{{$port}}={{json $to}} {{end}}",
            '443/tcp=null 80/tcp=[{"HostIp":"0.0.0.0","HostPort":"8080"}] ',
        ),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{if eq .State.Status "running" "paused"}}yes{{else}}no{{end}}', "yes"),
        ("{{if .Nothing}}one{{else if .Words}}two{{else}}three{{end}}", "two"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Nothing}}x{{else}}y{{end}}", "5y"),
        ('{{.Label "x"}}', "y"),
        ("{{.Missing}} {{.Missing.Too}} {{.Nothing}}", "<no value> <no value> <nil>"),
        ('{{ .Name | upper | printf "%-6s|" }}', "/WEB  |"),
        ("{{- .Name -}}  x", "/webx"),
        ('{{$name := .Name}}{{$name}} {{len .Words}} {{join .Words "-"}} {{$.Name}}', "/web 2 a-b /web"),
        ("{{.State}} {{.Words}} {{not true}}", "map[Pid:5 Status:running] [a b] false"),
        ("{{/* a comment */}}{{`raw`}}", "raw"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ('{{printf "%q %v %5.1f" .Name .Words 1.25}}', '"/web" [a b]   1.2'),
    ],
)
def test_what_the_language_says(template, text):
    assert compile_template(template)(WEB) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.Name", "not closed"),
        ("{{range .Words}}", "{{end}} is missing"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{nope .Name}}", 'function "nope" not defined'),
        ("{{.Name.First}}", "can't evaluate field First"),
        ("{{index .Words 7}}", "error calling index"),
        ('{{printf "%d" .Name}}', "error calling printf"),
        ("{{$x}}", 'undefined variable "\\$x"'),
        ("{{(.Name}}", "unclosed left parenthesis"),
        ("{{}}", "missing value"),
        ("{{range .Name}}x{{end}}", "can't iterate"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(template, reason):
    with pytest.raises(TemplateError, match=reason):
        compile_template(template)(WEB)
