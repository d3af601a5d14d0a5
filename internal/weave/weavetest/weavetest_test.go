//go:build unix

package weavetest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write want.txt of samples, and the table of libraries")

// build builds the samples of libraries that are woven.
var build Builder = Woven

const (
	aspects   = "../aspects"
	libraries = "../../../docs/guides/weave/libraries.md"
)

// TestSamples builds and runs the sample of each library in its newest and its
// oldest version, one after the other. What is woven must send what its
// want.txt says; what is not, nothing.
func TestSamples(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program for each library and version")
	}
	// As any user has it, whatever is set for this test.
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	outer := t
	samples, err := Samples(aspects)
	if err != nil {
		t.Fatal(err)
	}
	// Servers end with the last sample; they start with the first that needs them.
	var postgres, mongo string
	servers := map[string]func(testing.TB) string{
		"PG_DSN": func(t testing.TB) string {
			if postgres == "" {
				postgres = Postgres(t)
			}
			return postgres
		},
	}
	servers["MONGO_URI"] = func(t testing.TB) string {
		if mongo == "" {
			mongo = Mongo(t, "ferret", servers["PG_DSN"](t))
		}
		return mongo
	}
	var summary strings.Builder
	for _, s := range samples {
		result := "not run"
		t.Run(s.Aspect+"/"+s.Version, func(t *testing.T) {
			defer func() {
				switch {
				case t.Failed():
					result = "failed"
				case t.Skipped():
					result = "skipped"
				default:
					result = "ok"
				}
			}()
			env := []string{}
			for variable, start := range servers {
				needs, err := s.Needs(variable)
				if err != nil {
					t.Fatal(err)
				}
				if needs {
					env = append(env, variable+"="+start(cleanedUpBy{t, outer}))
				}
			}
			if !s.Woven() {
				if got := Run(t, s.Build(t, Plain), env...).Render(); got != "" {
					t.Errorf("without an aspect it sends\n%s", got)
				}
				return
			}
			s.Compare(t, Run(t, s.Build(t, build), env...).Render(), *update)
		})
		fmt.Fprintf(&summary, "%-44s %-12s woven=%-5v %s\n", s.Library, s.Version, s.Woven(), result)
	}
	t.Logf("library, version:\n%s", summary.String())
}

// cleanedUpBy is a test whose cleanup waits for the end of another.
type cleanedUpBy struct {
	testing.TB
	outer testing.TB
}

func (c cleanedUpBy) Cleanup(f func()) { c.outer.Cleanup(f) }
func (c cleanedUpBy) TempDir() string  { return c.outer.TempDir() }

func TestTableOfLibrariesIsCurrent(t *testing.T) {
	const begin, end = "<!-- libraries: written by go test ./internal/weave/weavetest -run Table -update -->\n", "<!-- end of libraries -->"
	samples, err := Samples(aspects)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(libraries)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table between %q and %q", libraries, begin, end)
	}
	want := Table(samples)
	if *update {
		if err := os.WriteFile(libraries, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("%s: -want +got:\n%s", libraries, diff)
	}
}

// write puts files into a new folder.
func write(t *testing.T, files fstest.MapFS) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o644} }

func TestReadSamples(t *testing.T) {
	dir := write(t, fstest.MapFS{
		"router/aspect.yaml":    file("about: Routes |\n  and errors.\npackages: [{path: example.com/router/v2/tree}]\n"),
		"router/sample/main.go": file("package main\nfunc main() {}\n"),
		"router/sample/go.mod":  file("module sample\nrequire example.com/a v1.0.0\nrequire example.com/router/v2 v2.5.0\n"),
		"router/sample/old.mod": file("module sample\nrequire example.com/a v1.0.0\nrequire example.com/router/v2 v2.1.0\n"),
		"new/sample/main.go":    file("package main\nvar _ = os.Getenv(\"PG_DSN\")\n"),
		"new/sample/go.mod":     file("module sample\nrequire (\n\texample.com/new v0.1.0\n\texample.com/a v1.0.0\n)\n"),
		"mapper/about.yaml":     file("about: Statements.\npackages: [{path: example.com/mapper}]\n"),
		"mapper/sample/main.go": file("package main\nfunc main() {}\n"),
		"mapper/sample/go.mod":  file("module sample\nrequire example.com/driver v1.0.0\nrequire example.com/mapper v1.1.0\n"),
		"slog/aspect.yaml":      file("about: Records.\npackages: [{path: log/slog}]\n"),
		"slog/sample/main.go":   file("package main\nfunc main() {}\n"),
		"slog/sample/go.mod":    file("module sample\nrequire example.com/a v1.0.0\n"),
	})
	samples, err := Samples(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range samples {
		needs, err := s.Needs("PG_DSN")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %s %s woven=%v postgres=%v", s.Aspect, s.ModFile, s.Library, strings.TrimRight(s.Version, "0123456789"), s.Woven(), needs))
	}
	want := []string{
		"mapper go.mod example.com/mapper v1.1. woven=true postgres=false",
		"new go.mod example.com/new v0.1. woven=false postgres=true",
		"router go.mod example.com/router/v2 v2.5. woven=true postgres=false",
		"router old.mod example.com/router/v2 v2.1. woven=true postgres=false",
		"slog go.mod log/slog Go 1. woven=true postgres=false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	wantTable := "| library | tested versions | what is captured |\n|---|---|---|\n" +
		"| `example.com/mapper` | v1.1.0 | Statements. |\n| `example.com/router/v2` | v2.1.0, v2.5.0 | Routes \\| and errors. |\n| `log/slog` | " + samples[4].Version + " | Records. |\n"
	if diff := cmp.Diff(wantTable, Table(samples)); diff != "" {
		t.Errorf("table: -want +got:\n%s", diff)
	}
}

func TestUpdate(t *testing.T) {
	dir := t.TempDir()
	newest, oldest := Sample{Dir: dir, ModFile: newest}, Sample{Dir: dir, ModFile: oldest}
	files := func() string {
		found, _ := filepath.Glob(filepath.Join(dir, "*"))
		for i := range found {
			found[i] = filepath.Base(found[i])
		}
		return strings.Join(found, " ")
	}
	newest.Compare(t, "a\n", true)
	oldest.Compare(t, "b\n", true)
	if got, want := files(), "want.old.txt want.txt"; got != want {
		t.Errorf("where the versions differ: %s, want %s", got, want)
	}
	newest.Compare(t, "a\n", false)
	oldest.Compare(t, "b\n", false)
	oldest.Compare(t, "a\n", true)
	if got, want := files(), "want.txt"; got != want {
		t.Errorf("where they are the same: %s, want %s", got, want)
	}
	oldest.Compare(t, "a\n", false)
}

func TestHash(t *testing.T) {
	dir := write(t, fstest.MapFS{"go.mod": file("module sample\n"), "main.go": file("package main\n")})
	before := hash(t, dir)
	if hash(t, dir) != before {
		t.Error("the same folder has two hashes")
	}
	for what, change := range map[string]func() error{
		"written": func() error { return os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module simple\n"), 0o644) },
		"mode":    func() error { return os.Chmod(filepath.Join(dir, "main.go"), 0o600) },
	} {
		before := hash(t, dir)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if hash(t, dir) == before {
			t.Errorf("%s: not seen", what)
		}
	}
}

// A program that is instrumented by hand sends the same when it is woven, and
// nothing twice.
func TestInstrumentedByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	s := Sample{Aspect: "byhand", Dir: filepath.Join("testdata", "byhand"), ModFile: newest}
	s.Compare(t, Run(t, s.Build(t, build)).Render(), *update)
}
