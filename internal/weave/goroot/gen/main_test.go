package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestArchiveIsCurrent(t *testing.T) {
	want, err := generate(filepath.Join("..", "..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join("..", "runtime.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("runtime.tar.zst is not what the SDK's sources give; run: make gen")
	}
}

func TestSource(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"left out", "//go:build guanlan_stock\n\npackage a\n", ""},
		{"left out, old style", "// +build !guanlan_woven\n\npackage a\n", ""},
		{"let in", "//go:build guanlan_woven\n\npackage a\n", "\n\npackage a\n"},
		{"in part", "//go:build linux && guanlan_woven\n\npackage a\n", "//go:build linux\n\npackage a\n"},
		{"by platform", "//go:build (linux || guanlan_stock) && !windows\n\npackage a\n", "//go:build linux && !windows\n\npackage a\n"},
		{"old style", "// +build linux darwin\n// +build !appengine\n\npackage a\n", "//go:build linux || darwin\n\n\npackage a\n"},
		{"licence", "// Copyright X\n\n// Package a is.\npackage a\n", "// Copyright X\n\n\npackage a\n"},
		{"comments", "package a\n\n/* one\ntwo */ // three\nvar a = 1 /* , */ + 2 // four\n\n\t// five\n", "package a\n\n\n\nvar a = 1   + 2\n"},
		{"strings", "package a\n\nvar a = `// no ` + \"/* none */\"\n", "package a\n\nvar a = `// no ` + \"/* none */\"\n"},
		{"directives", "package a\n\n//go:generate x\n//go:noinline\nfunc f() {}\n", "package a\n\n\n//go:noinline\nfunc f() {}\n"},
		{
			"imports", "package a\n\nimport (\n\tx \"go.opentelemetry.io/otel/trace\"\n\t\"github.com/guanlan-io/guanlan/sdk/internal/message\"\n\t\"net\"\n)\n",
			"package a\n\nimport (\n\tx \"guanlan/otel/trace\"\n\t\"guanlan/sdk/message\"\n\t\"net\"\n)\n",
		},
	} {
		f, err := parse([]byte(c.in))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := ""
		if f != nil {
			text, err := f.source(true, "")
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got = string(text)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	f, err := parse([]byte("package a\n\nimport _ \"unsafe\"\n\n//go:linkname f go.opentelemetry.io/otel/trace.f\nfunc f()\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.source(true, ""); err == nil {
		t.Error("a linkname to a package that is moved is let through")
	}
}

func TestKeepWhatIsUsed(t *testing.T) {
	parsed := func(text string) *file {
		t.Helper()
		f, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	p := &pkg{files: map[string]*file{
		"a.go": parsed("package semconv\n\nimport \"x/attribute\"\n\nconst (\n\tAKey = attribute.Key(\"a\")\n\tBKey = attribute.Key(\"b\")\n)\n\nfunc A() string {\n\treturn AKey.String()\n}\n\nfunc B() string {\n\treturn BKey.String()\n}\n\nconst C = 1\n"),
		"b.go": parsed("package semconv\n\nimport \"x/attribute\"\n\nvar (\n\tD = attribute.Key(\"d\")\n)\n"),
		"c.go": parsed("package semconv\n\nimport \"x/attribute\"\n\nconst E = 1\n\nvar F = attribute.Key(\"f\")\n"),
	}}
	used := map[string]bool{}
	parsed("package user\n\nimport \"otel/semconv/v1.9.0\"\n\nvar x, y = semconv.A(), semconv.E\n").uses("otel/semconv/v1.9.0", used)
	if err := p.keep(used); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a.go": "package semconv\n\nimport \"x/attribute\"\n\nconst (\n\tAKey = attribute.Key(\"a\")\n\n)\n\nfunc A() string {\n\treturn AKey.String()\n}\n",
		"c.go": "package semconv\n\n\n\nconst E = 1\n",
	} {
		f := p.files[name]
		if f == nil {
			t.Errorf("%s is left out", name)
			continue
		}
		if got, err := f.source(true, ""); err != nil || string(got) != want {
			t.Errorf("%s: %v, got %q, want %q", name, err, got, want)
		}
	}
	if p.files["b.go"] != nil {
		t.Error("a file of which nothing is used is kept")
	}
}
