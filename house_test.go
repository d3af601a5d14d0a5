// Package guanlan holds the rules of the house as tests: which package may
// import which, that every package says what it is for, and that generated
// files are current. ARCHITECTURE.md explains them.
package guanlan

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/guanlan-io/guanlan"

// floors gives each package its floor; imports go down only, never sideways.
// The longest matching prefix decides.
var floors = map[string]int{
	"cmd/guanlan":        6,
	"collector":          5,
	"internal/api":       4,
	"ui":                 4,
	"internal/weave":     3,
	"internal/query":     2,
	"internal/store":     1,
	"internal/journal":   1,
	"internal/kernel":    1,
	"internal/kube":      1,
	"internal/pprofile":  1,
	"internal/red":       1,
	"internal/sampling":  1,
	"internal/state":     1,
	"internal/semconv":   0,
	"internal/testkit":   0,
	"internal/quiet":     0,
	"internal/footprint": 0,
	"internal/durable":   0,
	"internal/api/prom":  4,
}

// sideways lists the imports inside one floor that are meant, with the reason.
var sideways = map[string]string{
	"internal/store/event > internal/journal":                "the event store is the journal's only user",
	"internal/store/event > internal/store":                  "the treaty that engines implement",
	"internal/store/metric > internal/store":                 "the treaty that engines implement",
	"internal/store/profile > internal/store":                "tenants, ranges and conditions",
	"internal/store/profile > internal/journal":              "keeps what no segment holds yet",
	"internal/store/profile > internal/pprofile":             "how values of samples add up",
	"internal/store/logsql > internal/store":                 "the treaty that engines implement",
	"internal/store/storetest > internal/store":              "the conformance suite of the treaty",
	"internal/store/event > internal/store/logsql":           "one engine, two languages: LogsQL is its own",
	"internal/kernel/tcp > internal/kernel":                  "what all features share",
	"internal/kernel/dns > internal/kernel":                  "what all features share",
	"internal/kernel/oom > internal/kernel":                  "what all features share",
	"internal/kernel/audit > internal/kernel":                "what all features share",
	"internal/kernel/profile > internal/kernel":              "what all features share",
	"internal/kernel/profile > internal/kernel/symbol":       "names of addresses",
	"internal/kernel/profile > internal/kernel/layout":       "where labels of goroutines are",
	"internal/kernel/attach > internal/kernel/symbol":        "names of types",
	"internal/kernel/attach > internal/kernel":               "what all features share",
	"internal/kernel/attach > internal/kernel/layout":        "where functions and fields are",
	"internal/kernel/layout > internal/kernel/symbol":        "names of functions",
	"internal/kernel/vm/guest > internal/kernel/vm":          "the plan that the host gives it",
	"internal/kernel/vm/check > internal/kernel":             "tells how all features fare in a guest",
	"internal/kernel/vm/check > internal/kernel/*":           "tells how all features fare in a guest",
	"internal/kernel/kerneltest > internal/kernel":           "tests of what all features share",
	"internal/kernel/telemetry > internal/kernel":            "what all features share",
	"internal/kernel/telemetry > internal/kernel/*":          "turns what each of them finds into telemetry",
	"internal/kernel/telemetry > internal/kube":              "names of peers and pods",
	"internal/kernel/telemetry > internal/pprofile":          "pprof as OTLP",
	"internal/red > internal/store":                          "tenants",
	"internal/state > internal/sampling":                     "keeps its policies",
	"internal/api > internal/api/prom":                       "one server serves all doors",
	"internal/api/jaeger > internal/api/jaeger/apiv3":        "generated wire types of the door",
	"internal/weave/weavetest > internal/weave":              "tests of what it builds",
	"internal/weave > internal/weave/goroot":                 "the GOROOT that it builds with",
	"collector > collector/*":                                "the list of components",
	"collector/storeexporter > collector/storeextension":     "finds the store it writes to",
	"collector/queryextension > collector/storeextension":    "finds the store it reads from",
	"collector/redconnector > collector/internal/metering":   "what both connectors do between flushes",
	"collector/graphconnector > collector/internal/metering": "what both connectors do between flushes",
}

// engines may be imported by one corner of the house only.
var engines = []struct{ prefix, only, why string }{
	{"github.com/VictoriaMetrics/VictoriaLogs/", "internal/store/event internal/store/logsql", "an engine stays behind one package"},
	{"github.com/prometheus/prometheus/tsdb", "internal/store/metric", "an engine stays behind one package"},
	{"github.com/cilium/ebpf", "internal/kernel", "an engine stays behind one package"},
	{"k8s.io/client-go", "internal/kube", "an engine stays behind one package"},
	{"go.opentelemetry.io/collector/otelcol", "collector cmd/guanlan", "the collector's frame is the fifth floor's"},
	{"go.opentelemetry.io/collector/component", "collector internal/store/metric", "components are the fifth floor's; only the metric store runs one, the library that turns delta into cumulative"},
	{"github.com/spf13/cobra", "cmd/guanlan", "only the command line parses flags"},
	{module + "/sdk", "", "the root module and the SDK share names and OTLP, no code"},
}

type listed struct {
	ImportPath  string
	Dir         string
	Name        string
	GoFiles     []string
	TestGoFiles []string
	Imports     []string
}

// packages lists the packages of the root module.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,Imports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []listed
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		all = append(all, p)
	}
}

func floorOf(rel string) (floor int, ok bool) {
	longest := -1
	for prefix, f := range floors {
		if (rel == prefix || strings.HasPrefix(rel, prefix+"/")) && len(prefix) > longest {
			longest, floor = len(prefix), f
		}
	}
	return floor, longest >= 0
}

func relative(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func meant(from, to string) bool {
	for pair := range sideways {
		a, b, _ := strings.Cut(pair, " > ")
		if from != a {
			continue
		}
		if to == b || strings.HasSuffix(b, "/*") && strings.HasPrefix(to, strings.TrimSuffix(b, "*")) {
			return true
		}
	}
	return false
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := relative(p.ImportPath)
		if from == "." {
			continue
		}
		floor, ok := floorOf(from)
		if !ok {
			t.Errorf("%s has no floor: add it to floors and to ARCHITECTURE.md", from)
			continue
		}
		for _, imp := range p.Imports {
			if to, ours := relative(imp); ours {
				below, ok := floorOf(to)
				switch {
				case !ok:
					t.Errorf("%s imports %s, which has no floor", from, to)
				case below > floor:
					t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", from, floor, to, below)
				case below == floor && !meant(from, to):
					t.Errorf("%s imports its sibling %s: if it is meant, say why in sideways", from, to)
				}
			}
		}
	}
}

// testsOnly are packages of tests: no product links them.
var testsOnly = []string{"internal/testkit", "internal/kernel/kerneltest", "internal/kernel/vm", "internal/weave/weavetest", "internal/store/storetest"}

func TestProductsLinkNoTestCode(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := relative(p.ImportPath)
		for _, imp := range p.Imports {
			to, ours := relative(imp)
			for _, only := range testsOnly {
				if ours && (to == only || strings.HasPrefix(to, only+"/")) && !slices.ContainsFunc(testsOnly, func(o string) bool { return strings.HasPrefix(from, o) }) {
					t.Errorf("%s imports %s, which is for tests", from, to)
				}
			}
		}
	}
}

func TestEnginesStayBehindOnePackage(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := relative(p.ImportPath)
		for _, imp := range p.Imports {
			for _, e := range engines {
				if imp != strings.TrimSuffix(e.prefix, "/") && !strings.HasPrefix(imp, e.prefix) {
					continue
				}
				if !slices.ContainsFunc(strings.Fields(e.only), func(at string) bool {
					return from == at || strings.HasPrefix(from, at+"/")
				}) {
					t.Errorf("%s imports %s: allowed in %q only, because %s", from, imp, e.only, e.why)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	fset := token.NewFileSet()
	for _, p := range packages(t) {
		docs := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc == nil || strings.HasPrefix(f.Doc.Text(), "Code generated") {
				continue
			}
			docs++
			if first := f.Doc.Text(); !strings.HasPrefix(first, "Package "+p.Name+" ") && p.Name != "main" {
				t.Errorf("%s/%s: package comment begins %.40q, want \"Package %s …\"", p.ImportPath, name, first, p.Name)
			}
		}
		if docs != 1 && len(p.GoFiles) > 0 {
			t.Errorf("%s has %d package comments, want 1", p.ImportPath, docs)
		}
	}
}

// A longer file hides more than one idea. Generated files do not count.
const longestFile = 1000

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$|^ \* This file was auto-generated`)

func TestFilesStayReadable(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || name == "dist" || name == ".git" || name == "bin" || strings.HasSuffix(name, "-data") {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".c", ".h", ".ts", ".tsx"}, filepath.Ext(path)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		head := text[:min(len(text), 500)]
		if generated.Match(head) || strings.Contains(path, ".gen.") {
			return nil
		}
		if n := bytes.Count(text, []byte("\n")); n > longestFile {
			t.Errorf("%s has %d lines, more than %d: split it by idea", path, n, longestFile)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A replace directive breaks `go install module@version`.
func TestNoReplace(t *testing.T) {
	for _, name := range []string{"go.mod", "sdk/go.mod"} {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`(?m)^replace\b`).Match(text) {
			t.Errorf("%s has a replace directive", name)
		}
	}
}

// Server and SDK share no code: what the one writes and the other reads is one
// example, which the guide shows, and each side has a test on its copy.
func TestSamplingPolicyIsTheSameOnBothSides(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	server, sdk := read("internal/api/testdata/sampling.json"), read("sdk/testdata/sampling.json")
	if server != sdk {
		t.Error("internal/api/testdata/sampling.json and sdk/testdata/sampling.json differ: copy one over the other")
	}
	shown := "    " + strings.ReplaceAll(strings.TrimSuffix(server, "\n"), "\n", "\n    ") + "\n"
	if !strings.Contains(read("docs/guides/apis.md"), shown) {
		t.Error("docs/guides/apis.md does not show internal/api/testdata/sampling.json, indented by four spaces")
	}
}

// sdk/core is compiled into any program, and in the place of a package of the
// standard library when a program is woven: it must not need a module. What else
// is usable without the face of OpenTelemetry should stay so.
func TestSDKCoreIsStandardLibraryOnly(t *testing.T) {
	for _, dir := range []string{"core", "observer", "label"} {
		files, err := filepath.Glob("sdk/" + dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("files of sdk/%s: %v, error %v", dir, files, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				path := strings.Trim(i.Path.Value, `"`)
				if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && (dir == "core" || path != module+"/sdk/core") {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
}

// sdkModules is what a service takes in with the SDK. Each is something to
// update, to audit and to be broken by: think before adding to it.
var sdkModules = []string{
	"github.com/KimMachineGun/automemlimit", // reads what a cgroup allows, of all the kinds there are
	"github.com/cespare/xxhash/v2",          // of otel/attribute
	"github.com/go-logr/logr",               // of otel
	"github.com/go-logr/stdr",               // of otel
	"github.com/pbnjay/memory",              // of automemlimit
	"go.opentelemetry.io/auto/sdk",          // of otel/trace
	"go.opentelemetry.io/otel",
	"go.opentelemetry.io/otel/log",
	"go.opentelemetry.io/otel/metric",
	"go.opentelemetry.io/otel/trace",
}

func TestSDKModules(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./auto")
	cmd.Dir = "sdk"
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in sdk: %v", err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	got = slices.DeleteFunc(slices.Compact(got), func(m string) bool { return m == module+"/sdk" })
	if !slices.Equal(got, sdkModules) {
		t.Errorf("the SDK takes in %q, want %q", got, sdkModules)
	}
}
