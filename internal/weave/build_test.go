package weave

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// The programs of these tests print what lib.Answer gives: 41, and woven 42.
const (
	mainText = `package main

import (
	"fmt"

	"example.com/lib"
)

func main() { fmt.Println(lib.Answer()) }
`
	libText = "package lib\n\nfunc Answer() int { return 41 }\n"
	rules   = `name: answer
about: The answer.
packages:
  - path: example.com/lib
    versions: ">=v1.0.0 <v2.0.0"
    files: [more.go]
    points:
      - func: Answer
        replace: "41"
        code: "guanlanMore($&)"
`
	moreText = "//go:build guanlan_woven\n\npackage lib\n\nfunc guanlanMore(n int) int { return n + 1 }\n"
)

// folder writes files and removes them in the end.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, files)
	return dir
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// hashOf is that of all names, modes and contents below a folder.
func hashOf(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(h, strings.TrimPrefix(name, dir), info.Mode(), info.ModTime().UnixNano())
		if d.Type().IsRegular() {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			h.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// trial is a Weaver whose words are kept.
type trial struct {
	*Weaver
	warned      []string
	out, errOut bytes.Buffer
}

func newTrial(t *testing.T, dir string, aspects map[string]string) *trial {
	t.Helper()
	r := &trial{Weaver: &Weaver{Dir: dir}}
	r.Stdout, r.Stderr = &r.out, &r.errOut
	r.Warn = func(m string) { r.warned = append(r.warned, m) }
	if aspects != nil {
		extra, err := ReadAspects(folder(t, aspects))
		if err != nil {
			t.Fatal(err)
		}
		r.Extra = extra
	}
	return r
}

var answer = map[string]string{"aspect.yaml": rules, "more.go": moreText}

// must runs a verb that has to do.
func (r *trial) must(t *testing.T, verb string, args ...string) {
	t.Helper()
	code, err := r.Run(t.Context(), verb, args)
	if code != 0 || err != nil {
		t.Fatalf("%s %q: code %d, %v\n%s%s%q", verb, args, code, err, r.out.String(), r.errOut.String(), r.warned)
	}
}

func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// proxy serves example.com/lib v1.2.0, which has a program in it, from a folder,
// and gives the test a module cache of its own.
func proxy(t *testing.T) {
	t.Helper()
	publish(t, map[string]map[string]string{"example.com/lib@v1.2.0": {
		"go.mod": "module example.com/lib\n\ngo 1.24\n", "lib.go": libText, "cmd/answer/main.go": mainText, "cmd/answer/text.txt": "text",
	}})
}

// publish serves modules, by path and version, from a folder, and gives the test a
// module cache of its own.
func publish(t *testing.T, modules map[string]map[string]string) {
	t.Helper()
	served := map[string]string{}
	for m, files := range modules {
		path, version, _ := strings.Cut(m, "@")
		var zipped bytes.Buffer
		w := zip.NewWriter(&zipped)
		for name, text := range files {
			f, err := w.Create(m + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		at := path + "/@v/"
		served[at+"list"] += version + "\n"
		served[at+version+".info"] = fmt.Sprintf(`{"Version":%q}`, version)
		served[at+version+".mod"] = cmp.Or(files["go.mod"], "module "+path+"\n")
		served[at+version+".zip"] = zipped.String()
	}
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(folder(t, served)))
	t.Setenv("GONOSUMDB", "*")
	t.Setenv("GOFLAGS", "-modcacherw")
	t.Setenv("GOMODCACHE", filepath.Join(t.TempDir(), "modules"))
}

const modText = "module example.com/app\n\ngo 1.24\n\nrequire example.com/lib v1.2.0\n"

// Each way to lay out a program is built, and left as it was.
func TestBuildLeavesSourcesAlone(t *testing.T) {
	local := map[string]string{"main.go": mainText, "go.mod": modText + "\nreplace example.com/lib => ./lib\n", "lib/go.mod": "module example.com/lib\n\ngo 1.24\n", "lib/lib.go": libText}
	cached := map[string]string{"main.go": mainText, "go.mod": modText}
	inModuleCache := func(t *testing.T, dir string) {
		proxy(t)
		goCommand(t, dir, "mod", "tidy")
	}
	vendored := func(t *testing.T, dir string) {
		inModuleCache(t, dir)
		goCommand(t, dir, "mod", "vendor")
	}
	workspace := map[string]string{"go.work": "go 1.24\n\nuse (\n\t./app\n\t./lib\n)\n", "app/main.go": mainText, "app/go.mod": modText, "lib/go.mod": "module example.com/lib\n\ngo 1.24\n", "lib/lib.go": libText}
	for _, tt := range []struct {
		name    string
		files   map[string]string
		prepare func(t *testing.T, dir string)
		args    []string
		in      string // folder to build in
	}{
		{name: "replaced by a folder", files: local},
		{name: "module cache", files: cached, prepare: inModuleCache},
		{name: "vendored", files: cached, prepare: vendored},
		{name: "not vendored though there is a vendor folder", files: cached, prepare: vendored, args: []string{"-mod=readonly"}},
		{name: "workspace", files: workspace, in: "app"},
		{name: "workspace with modules of the cache", prepare: func(t *testing.T, dir string) {
			inModuleCache(t, filepath.Join(dir, "app"))
		}, files: map[string]string{"go.work": "go 1.24\n\nuse ./app\n", "app/main.go": mainText, "app/go.mod": modText}, in: "app"},
		{name: "vendored workspace", prepare: func(t *testing.T, dir string) {
			inModuleCache(t, filepath.Join(dir, "app"))
			goCommand(t, dir, "work", "vendor")
		}, files: map[string]string{"go.work": "go 1.24\n\nuse ./app\n", "app/main.go": mainText, "app/go.mod": modText}, in: "app"},
		{name: "another go.mod", prepare: func(t *testing.T, dir string) {
			proxy(t)
			goCommand(t, dir, "mod", "tidy", "-modfile=other.mod")
		}, files: map[string]string{"main.go": mainText, "other.mod": modText, "go.mod": "module example.com/app\n\ngo 1.24\n"}, args: []string{"-modfile=other.mod"}},
		{name: "go.mod may be written", files: cached, prepare: inModuleCache, args: []string{"-mod=mod"}},
		{name: "no network", files: cached, prepare: func(t *testing.T, dir string) {
			inModuleCache(t, dir)
			t.Setenv("GOPROXY", "off")
		}},
		{name: "another go.mod by GOFLAGS with quotes", prepare: func(t *testing.T, dir string) {
			proxy(t)
			goCommand(t, dir, "mod", "tidy", "-modfile=other.mod")
			t.Setenv("GOFLAGS", `-modcacherw '-ldflags=-s -w' "-modfile=other.mod"`)
		}, files: map[string]string{"main.go": mainText, "other.mod": modText, "go.mod": "module example.com/app\n\ngo 1.24\n"}},
		{name: "no workspace", prepare: func(t *testing.T, dir string) {
			inModuleCache(t, filepath.Join(dir, "app"))
			t.Setenv("GOWORK", "off")
		}, files: map[string]string{"go.work": "go 1.24\n\nuse ./lib\n", "lib/go.mod": "module example.com/lib\n", "app/main.go": mainText, "app/go.mod": modText}, in: "app"},
		{name: "no modules", prepare: func(t *testing.T, dir string) {
			t.Setenv("GO111MODULE", "off")
			t.Setenv("GOPATH", dir)
		}, files: map[string]string{"src/example.com/app/main.go": mainText, "src/example.com/lib/lib.go": libText}, in: "src/example.com/app"},
		{name: "through a link", prepare: func(t *testing.T, dir string) {
			if err := os.Symlink("app", filepath.Join(dir, "link")); err != nil {
				t.Skip(err)
			}
		}, files: map[string]string{"app/main.go": mainText, "app/go.mod": local["go.mod"], "app/lib/go.mod": local["lib/go.mod"], "app/lib/lib.go": libText}, in: "link"},
		{name: "coverage", files: local, args: []string{"-cover"}},
		{name: "coverage of the program alone", files: local, args: []string{"-coverpkg=example.com/app"}},
		{name: "trimpath", files: local, args: []string{"-trimpath"}},
		{name: "link flags", files: local, args: []string{"-ldflags", "-s -w"}},
		{name: "named files", files: local, args: []string{"main.go"}},
		{name: "another folder", files: local, args: []string{"-C", "."}},
		{name: "build tags", files: map[string]string{"main.go": "//go:build special\n\n" + mainText, "go.mod": local["go.mod"], "lib/go.mod": local["lib/go.mod"], "lib/lib.go": libText}, args: []string{"-tags", "special"}},
		{name: "several programs", files: map[string]string{"cmd/a/main.go": mainText, "cmd/b/main.go": mainText, "go.mod": local["go.mod"], "lib/go.mod": local["lib/go.mod"], "lib/lib.go": libText}, args: []string{"./cmd/..."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, tt.files)
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			before := hashOf(t, dir)
			r := newTrial(t, filepath.Join(dir, tt.in), answer)
			bin := t.TempDir() + string(filepath.Separator)
			r.must(t, "build", append([]string{"-o", bin}, tt.args...)...)
			if after := hashOf(t, dir); after != before {
				t.Error("the folder has changed")
			}
			if len(r.warned) > 0 {
				t.Errorf("warned: %q", r.warned)
			}
			names, err := os.ReadDir(bin)
			if err != nil || len(names) == 0 {
				t.Fatalf("built %v, %v", names, err)
			}
			for _, n := range names {
				name := filepath.Join(bin, n.Name())
				cmd := exec.Command(name)
				cmd.Env = append(os.Environ(), "OTEL_SDK_DISABLED=true", "GOCOVERDIR="+t.TempDir())
				out, err := cmd.CombinedOutput()
				if got := string(out); err != nil || got != "42\n" {
					t.Errorf("%s: prints %q, %v, want 42", n.Name(), got, err)
				}
				mark, err := Check(name)
				if err != nil {
					t.Error(err)
				} else if !carries(mark, "answer") || !carries(mark, needed) {
					t.Errorf("%s: marked %+v", n.Name(), mark)
				}
			}
		})
	}
}

func carries(m *Mark, aspect string) bool {
	for _, w := range m.Woven {
		if w.Aspect == aspect {
			return true
		}
	}
	return false
}

// A program that is built for another system cannot be run here, but says what
// is woven into it.
func TestBuildForOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the standard library twice")
	}
	for _, target := range []string{"darwin/arm64", "windows/amd64"} {
		t.Run(target, func(t *testing.T) {
			dir := folder(t, map[string]string{"main.go": mainText, "go.mod": modText + "\nreplace example.com/lib => ./lib\n", "lib/go.mod": "module example.com/lib\n", "lib/lib.go": libText})
			system, arch, _ := strings.Cut(target, "/")
			t.Setenv("GOOS", system)
			t.Setenv("GOARCH", arch)
			r := newTrial(t, dir, answer)
			bin := filepath.Join(t.TempDir(), "app")
			r.must(t, "build", "-o", bin)
			if m, err := Check(bin); err != nil || !carries(m, "answer") || len(r.warned) > 0 {
				t.Errorf("marked %+v, %v, warned %q", m, err, r.warned)
			}
		})
	}
}

// The other verbs.
func TestRunAndTest(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	files := map[string]string{
		"main.go": strings.Replace(strings.Replace(mainText, "fmt.Println(lib.Answer())", "fmt.Println(lib.Answer(), os.Args[1:]); os.Exit(7)", 1), `"fmt"`, "\"fmt\"\n\t\"os\"", 1),
		"go.mod":  modText + "\nreplace example.com/lib => ./lib\n", "lib/go.mod": "module example.com/lib\n\ngo 1.24\n", "lib/lib.go": libText,
		"main_test.go": "package main\n\nimport (\n\t\"testing\"\n\n\t\"example.com/lib\"\n)\n\nfunc TestAnswer(t *testing.T) {\n\tif n := lib.Answer(); n != 42 {\n\t\tt.Errorf(\"got %d\", n)\n\t}\n}\n",
	}
	dir := folder(t, files)
	before := hashOf(t, dir)
	r := newTrial(t, dir, answer)
	if code, err := r.Run(t.Context(), "run", []string{".", "-x", "a b"}); code != 7 || err != nil || r.out.String() != "42 [-x a b]\n" {
		t.Errorf("run: code %d, %v, printed %q, %q", code, err, r.out.String(), r.errOut.String())
	}
	for _, args := range [][]string{{"."}, {"-cover", "."}, {"-v", "-count=1", "./...", "-run", "TestAnswer"}} {
		newTrial(t, dir, answer).must(t, "test", args...)
	}
	if after := hashOf(t, dir); after != before {
		t.Error("the folder has changed")
	}
	// Tests that fail without, fail, and with the code of go test.
	if code, err := newTrial(t, dir, nil).Run(t.Context(), "test", []string{"."}); code != 1 || err != nil {
		t.Errorf("test without the aspect: code %d, %v", code, err)
	}
	bin := t.TempDir()
	t.Setenv("GOBIN", bin)
	newTrial(t, dir, answer).must(t, "install", ".")
	if m, err := Check(filepath.Join(bin, "app")); err != nil || !carries(m, "answer") {
		t.Errorf("installed: %+v, %v", m, err)
	}
}

// A program of a published module is woven in a copy of it.
func TestPublished(t *testing.T) {
	proxy(t)
	t.Setenv("OTEL_SDK_DISABLED", "true")
	t.Setenv("GOBIN", filepath.Join(t.TempDir(), "bin"))
	here := folder(t, nil)
	r := newTrial(t, here, answer)
	r.must(t, "install", "example.com/lib/cmd/answer@v1.2.0")
	out, err := exec.Command(filepath.Join(os.Getenv("GOBIN"), "answer")).Output()
	if string(out) != "42\n" || err != nil {
		t.Errorf("prints %q, %v", out, err)
	}
	r.must(t, "build", "example.com/lib/cmd/answer@latest")
	if m, err := Check(filepath.Join(here, "answer")); err != nil || !carries(m, "answer") {
		t.Errorf("built: %+v, %v", m, err)
	}
	if code, err := r.Run(t.Context(), "run", []string{"example.com/lib/cmd/answer@v1.2.0"}); code != 0 || err != nil || r.out.String() != "42\n" {
		t.Errorf("run: code %d, %v, printed %q", code, err, r.out.String())
	}
	if code, err := r.Run(t.Context(), "install", []string{"example.com/lib/cmd/nothing@v1.2.0"}); code == 0 || err == nil {
		t.Error("installed what is not there")
	}
}

func TestFaults(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	base := func() map[string]string {
		return map[string]string{"main.go": mainText, "go.mod": modText + "\nreplace example.com/lib => ./lib\n", "lib/go.mod": "module example.com/lib\n\ngo 1.24\n", "lib/lib.go": libText}
	}
	// What a user did wrong is told with the user's file and line, once.
	t.Run("a program that does not compile", func(t *testing.T) {
		files := base()
		files["main.go"] = strings.Replace(mainText, "lib.Answer()", "lib.Answr()", 1)
		r := newTrial(t, folder(t, files), answer)
		code, err := r.Run(t.Context(), "build", nil)
		if said := r.errOut.String(); code != 1 || err != nil || strings.Count(said, "main.go:9:") != 1 || len(r.warned) > 0 {
			t.Errorf("code %d, %v, warned %q, said\n%s", code, err, r.warned, said)
		}
	})
	t.Run("a library that does not compile", func(t *testing.T) {
		files := base()
		files["lib/lib.go"] += "\nfunc wrong() int { return true }\n"
		r := newTrial(t, folder(t, files), answer)
		code, err := r.Run(t.Context(), "build", nil)
		if said := r.errOut.String(); code != 1 || err != nil || !strings.Contains(said, filepath.Join("lib", "lib.go")+":5:") || strings.Contains(said, "zz_guanlan") {
			t.Errorf("code %d, %v, warned %q, said\n%s", code, err, r.warned, said)
		}
	})
	t.Run("a source that does not parse", func(t *testing.T) {
		files := base()
		files["lib/lib.go"] += "\nfunc {\n"
		r := newTrial(t, folder(t, files), answer)
		code, err := r.Run(t.Context(), "build", nil)
		if said := r.errOut.String(); code != 1 || err != nil || !strings.Contains(said, filepath.Join("lib", "lib.go")+":5:") {
			t.Errorf("code %d, %v, warned %q, said\n%s", code, err, r.warned, said)
		}
	})
	// A rule that matches nowhere: that aspect is left out, and it is told.
	t.Run("an anchor that is missing", func(t *testing.T) {
		files := base()
		files["lib/lib.go"] = "package lib\n\nfunc Answer() int { return 40 + 1 }\n"
		dir := folder(t, files)
		r := newTrial(t, dir, answer)
		r.must(t, "run", ".")
		if r.out.String() != "41\n" || len(r.warned) != 1 || !strings.Contains(r.warned[0], `"41" in func Answer is not in`) {
			t.Errorf("printed %q, warned %q", r.out.String(), r.warned)
		}
		r.must(t, "build", "-o", filepath.Join(dir, "app"))
		m, err := Check(filepath.Join(dir, "app"))
		if err != nil || carries(m, "answer") || len(m.LeftOut) != 1 || m.LeftOut[0].Aspect != "answer" {
			t.Errorf("marked %+v, %v", m, err)
		}
		r.Strict = true
		if code, err := r.Run(t.Context(), "build", nil); code == 0 || !errors.Is(err, ErrStrict) {
			t.Errorf("strict: code %d, %v", code, err)
		}
	})
	t.Run("what is inserted does not compile", func(t *testing.T) {
		dir := folder(t, base())
		r := newTrial(t, dir, map[string]string{"aspect.yaml": strings.Replace(rules, "guanlanMore", "guanlanLess", 1), "more.go": moreText})
		r.must(t, "run", ".")
		if r.out.String() != "41\n" || len(r.warned) != 1 || !strings.Contains(r.warned[0], "answer is not woven") {
			t.Errorf("printed %q, warned %q", r.out.String(), r.warned)
		}
	})
	t.Run("a version that was never tested", func(t *testing.T) {
		proxy(t)
		dir := folder(t, map[string]string{"main.go": mainText, "go.mod": modText})
		goCommand(t, dir, "mod", "tidy")
		r := newTrial(t, dir, map[string]string{"aspect.yaml": strings.Replace(rules, ">=v1.0.0", ">=v1.3.0", 1), "more.go": moreText})
		r.must(t, "run", ".")
		if r.out.String() != "42\n" || len(r.warned) != 1 || !strings.Contains(r.warned[0], "outside the tested range") {
			t.Errorf("printed %q, warned %q", r.out.String(), r.warned)
		}
	})
	t.Run("no main package", func(t *testing.T) {
		r := newTrial(t, folder(t, base()), answer)
		r.Dir = filepath.Join(r.Dir, "lib")
		if code, err := r.Run(t.Context(), "build", nil); code == 0 || !errors.Is(err, errNoMain) {
			t.Errorf("code %d, %v", code, err)
		}
	})
	t.Run("an aspect that there is not", func(t *testing.T) {
		r := newTrial(t, folder(t, base()), nil)
		r.Without = []string{"nothing"}
		if code, err := r.Run(t.Context(), "build", nil); code != 2 || !errors.Is(err, ErrUsage) {
			t.Errorf("code %d, %v", code, err)
		}
	})
	t.Run("left out by the user", func(t *testing.T) {
		r := newTrial(t, folder(t, base()), answer)
		r.Without = []string{"answer"}
		r.must(t, "run", ".")
		if r.out.String() != "41\n" || len(r.warned) > 0 {
			t.Errorf("printed %q, warned %q", r.out.String(), r.warned)
		}
	})
	t.Run("a folder that cannot be written", func(t *testing.T) {
		dir := folder(t, base())
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
		r := newTrial(t, dir, answer)
		r.must(t, "build", "-o", filepath.Join(t.TempDir(), "app"))
	})
	t.Run("a cache that cannot be made", func(t *testing.T) {
		dir := folder(t, base())
		t.Setenv(CacheVariable, filepath.Join(dir, "main.go", "cache"))
		r := newTrial(t, dir, answer)
		if code, err := r.Run(t.Context(), "build", nil); code == 0 || err == nil || !strings.Contains(err.Error(), CacheVariable) {
			t.Errorf("code %d, %v", code, err)
		}
	})
	t.Run("a plain build between woven ones", func(t *testing.T) {
		dir := folder(t, base())
		for range 2 {
			if got := goCommand(t, dir, "run", "."); got != "41\n" {
				t.Errorf("plain: printed %q", got)
			}
			r := newTrial(t, dir, answer)
			if r.must(t, "run", "."); r.out.String() != "42\n" {
				t.Errorf("woven: printed %q", r.out.String())
			}
		}
	})
	// The cover tool reads the files of a package as they lie there.
	t.Run("a package that is covered itself", func(t *testing.T) {
		r := newTrial(t, folder(t, base()), answer)
		r.must(t, "run", "-coverpkg=./...", ".")
		if r.out.String() != "41\n" || len(r.warned) != 1 || !strings.Contains(r.warned[0], "cover") {
			t.Errorf("printed %q, warned %q", r.out.String(), r.warned)
		}
	})
	t.Run("coverage of everything", func(t *testing.T) {
		r := newTrial(t, folder(t, base()), answer)
		if code, err := r.Run(t.Context(), "test", []string{"-coverpkg=all", "."}); code == 0 || !errors.Is(err, ErrUsage) {
			t.Errorf("code %d, %v", code, err)
		}
	})
	t.Run("the user's own overlay", func(t *testing.T) {
		files := base()
		files["other/lib.go"] = strings.Replace(libText, "41", "40 + 41", 1)
		files["overlay.json"] = `{"Replace": {"lib/lib.go": "other/lib.go"}}`
		r := newTrial(t, folder(t, files), answer)
		if r.must(t, "run", "-overlay", "overlay.json", "."); r.out.String() != "82\n" {
			t.Errorf("printed %q", r.out.String())
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		dir := folder(t, base())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := newTrial(t, dir, answer)
		if code, err := r.Run(ctx, "build", nil); code == 0 && err == nil {
			t.Error("built all the same")
		}
		if _, err := os.Stat(filepath.Join(dir, "app")); err == nil {
			t.Error("something was left behind")
		}
	})
}

// Builds at the same time share a cache that is empty at first.
func TestPlansAtOnce(t *testing.T) {
	t.Setenv(CacheVariable, filepath.Join(t.TempDir(), "cache"))
	proxy(t)
	dir := folder(t, map[string]string{"main.go": mainText, "go.mod": modText})
	goCommand(t, dir, "mod", "tidy")
	var all sync.WaitGroup
	var overlays [4]string
	for i := range overlays {
		r := newTrial(t, dir, answer)
		all.Go(func() {
			plan, err := r.Plan(context.Background(), "build", nil)
			if err != nil {
				t.Error(err)
				return
			}
			text, err := os.ReadFile(plan.Overlay)
			if err != nil {
				t.Error(err)
			}
			overlays[i] = string(text)
		})
	}
	all.Wait()
	for _, o := range overlays {
		if o != overlays[0] || !strings.Contains(o, "zz_guanlan_answer_more.go") {
			t.Errorf("overlay %s", o)
		}
	}
	var left []string
	_ = filepath.WalkDir(os.Getenv(CacheVariable), func(name string, _ fs.DirEntry, _ error) error {
		if strings.Contains(name, ".new-") || strings.Contains(name, "making-") {
			left = append(left, name)
		}
		return nil
	})
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The race detector and cgo need a C compiler.
func TestBuildWithC(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("gcc is not installed")
		}
		t.Skip("gcc is not installed")
	}
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	files := map[string]string{
		"main.go": strings.Replace(mainText, `import (`, "// int one() { return 1; }\nimport \"C\"\n\nimport (", 1), "go.mod": modText + "\nreplace example.com/lib => ./lib\n",
		"lib/go.mod": "module example.com/lib\n\ngo 1.24\n", "lib/lib.go": libText,
	}
	files["main.go"] = strings.Replace(files["main.go"], "lib.Answer()", "lib.Answer()*int(C.one())", 1)
	dir := folder(t, files)
	for _, args := range [][]string{{"."}, {"-race", "."}} {
		if args[0] == "-race" && runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
			continue
		}
		r := newTrial(t, dir, answer)
		if r.must(t, "run", args...); r.out.String() != "42\n" || len(r.warned) > 0 {
			t.Errorf("%q: printed %q, warned %q", args, r.out.String(), r.warned)
		}
	}
}
