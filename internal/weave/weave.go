// Package weave builds Go programs with instrumentation woven in, and leaves
// their sources as they are: the go command is given an overlay of files that
// only the build sees.
//
// What is woven, and where, is data: the aspects, one folder a library. What the
// woven program runs is Guanlan's own SDK, which it finds as packages of the
// standard library, in a GOROOT of ours that is the real one otherwise. So there
// is nothing to require, to vendor, or to check sums of.
package weave

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed aspects/*/aspect.yaml aspects/*/*.go
var builtIn embed.FS

// Errors of a build.
var (
	// ErrUsage is of what the user has typed.
	ErrUsage = errors.New("usage")
	// ErrStrict is of a build that could be done, but not woven in full.
	ErrStrict = errors.New("not woven in full")

	errNotLoaded = errors.New("the packages cannot be loaded")
	errNoMain    = errors.New("no main package to build: nothing would run what is woven; name one, as ./cmd/server")
)

// Weaver runs the go command with instrumentation woven in. It is safe for
// concurrent use, also by several processes.
type Weaver struct {
	Dir     string    // to run in; default: the current folder
	Only    []string  // names of aspects to weave; default: all
	Without []string  // names of aspects not to weave
	Extra   []*Aspect // of the user; one replaces ours of the same name
	// Strict has a build fail that cannot be woven in full. Default: it says so
	// and goes on.
	Strict bool
	// Warn hears of what is left out, and why. Default: nobody does.
	Warn func(message string)
	// Signals are for the program of run, which the end of the context leaves alone
	// then. Default: the end of the context interrupts it.
	Signals        <-chan os.Signal
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

func (w *Weaver) warn(message string) {
	if w.Warn != nil {
		w.Warn(message)
	}
}

// needed is the aspect of what all others rely on.
const needed = "runtime"

// Aspects are all that there are: ours and those of the user, by name.
func (w *Weaver) Aspects() ([]*Aspect, error) {
	all, err := readBuiltIn()
	if err != nil {
		return nil, err
	}
	for _, a := range w.Extra {
		all = append(slices.DeleteFunc(all, func(b *Aspect) bool { return b.Name == a.Name }), a)
	}
	slices.SortStableFunc(all, func(a, b *Aspect) int {
		// Others may rely on what it adds.
		if (a.Name == needed) != (b.Name == needed) {
			if a.Name == needed {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

// chosen reports for each aspect that is not to be woven, why.
func (w *Weaver) chosen(all []*Aspect) (map[string]string, error) {
	without := map[string]string{}
	known := func(name string) bool {
		return slices.ContainsFunc(all, func(a *Aspect) bool { return a.Name == name })
	}
	for _, name := range slices.Concat(w.Only, w.Without) {
		if !known(name) {
			return nil, fmt.Errorf("%w: there is no aspect %q: guanlan weave aspects lists them", ErrUsage, name)
		}
	}
	for _, a := range all {
		switch {
		case slices.Contains(w.Without, a.Name):
			without[a.Name] = "left out by --without"
		case len(w.Only) > 0 && !slices.Contains(w.Only, a.Name) && a.Name != needed:
			without[a.Name] = "left out by --only"
		}
	}
	return without, nil
}

// Plan tells how a build would be woven, and writes what it needs. Verb is that
// of the go command, args what follows it.
func (w *Weaver) Plan(ctx context.Context, verb string, args []string) (*Plan, error) {
	inv, err := parse(verb, args)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if inv, err = w.published(ctx, inv); err != nil {
		return nil, err
	}
	all, err := w.Aspects()
	if err != nil {
		return nil, err
	}
	without, err := w.chosen(all)
	if err != nil {
		return nil, err
	}
	return w.prepare(ctx, inv, all, without)
}

// Environment is what the go command needs to build as planned, for scripts that
// run it themselves: variables by name.
func (p *Plan) Environment() (map[string]string, error) {
	flags, err := joinWords(append((&invocation{flags: p.tool.goFlags}).without("overlay").flags, "-overlay="+p.Overlay))
	if err != nil {
		return nil, fmt.Errorf("write the environment: %w: move %s by %s", err, p.Overlay, CacheVariable)
	}
	return map[string]string{
		"GOROOT":      p.GOROOT,
		"GOTOOLCHAIN": "local",
		"GOFLAGS":     flags,
		// The go command of the path may be an older one, that has chosen a newer one
		// for this program; it may not do so any more.
		"PATH": filepath.Join(p.GOROOT, "bin") + string(filepath.ListSeparator) + os.Getenv("PATH"),
	}, nil
}

// Run runs a verb of the go command: build, install, run or test. It returns the
// exit code of the go command, or of the program that was run. An error is one
// of weaving; what is wrong with the program, the go command has told by then.
func (w *Weaver) Run(ctx context.Context, verb string, args []string) (code int, err error) {
	inv, err := parse(verb, args)
	if err != nil {
		return 2, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if verb == "run" {
		return w.runProgram(ctx, inv)
	}
	return w.build(ctx, inv)
}

// folder is the absolute one that the go command runs in.
func (w *Weaver) folder(inv *invocation) (string, error) {
	dir := inv.dir
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(w.Dir, dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the folder to build in: %w", err)
	}
	return dir, nil
}

func (w *Weaver) build(ctx context.Context, inv *invocation) (code int, err error) {
	if inv, err = w.published(ctx, inv); err != nil {
		return 1, err
	}
	all, err := w.Aspects()
	if err != nil {
		return 1, err
	}
	without, err := w.chosen(all)
	if err != nil {
		return 2, err
	}
	// What of ours does not compile with this version of a library is left out;
	// the rest is woven.
	for range 1 + len(all) {
		plan, err := w.prepare(ctx, inv, all, without)
		if errors.Is(err, errNotLoaded) {
			return w.complain(ctx, inv, err)
		}
		if err != nil {
			return 1, err
		}
		for _, l := range plan.LeftOut {
			if _, told := without[l.Aspect]; told {
				continue
			}
			without[l.Aspect] = l.Reason
			w.warn(fmt.Sprintf("%s is not woven: %s", l.Aspect, l.Reason))
			if w.Strict {
				return 1, fmt.Errorf("%w: %s", ErrStrict, l.Aspect)
			}
		}
		code, message, err := w.try(ctx, plan, inv)
		if code == 0 || err != nil || ctx.Err() != nil {
			return code, err
		}
		blamed := plan.blame(message)
		if len(blamed) == 0 {
			return w.tryPlain(ctx, plan, inv, code, message)
		}
		for _, name := range blamed {
			w.warn(fmt.Sprintf("%s is not woven, as it does not compile here:\n%s", name, strings.TrimSpace(message)))
			without[name] = "does not compile"
		}
		if w.Strict {
			return 1, fmt.Errorf("%w: %s", ErrStrict, strings.Join(blamed, ", "))
		}
	}
	return 1, errors.New("BUG: every aspect is left out, and still one is to blame")
}

// try runs the go command as planned. What it says on its standard error is kept
// until it is known whose fault a failure is.
func (w *Weaver) try(ctx context.Context, p *Plan, inv *invocation) (code int, message string, err error) {
	var said bytes.Buffer
	stdout, stderr := w.Stdout, io.Writer(&said)
	_, verbose := inv.flag("v")
	_, commands := inv.flag("x")
	shown := verbose || commands || inv.verb == "test"
	if shown {
		stderr = io.MultiWriter(w.Stderr, &head{to: &said, limit: maxMessage})
	}
	if inv.verb == "test" { // failures to build are told on both
		stdout = io.MultiWriter(w.Stdout, &head{to: &said, limit: maxMessage})
	}
	code, err = w.goCommand(ctx, p.tool, p.args(inv), stdout, stderr)
	if !shown && (code == 0 || !p.ourFault(said.String())) {
		_, _ = w.Stderr.Write(said.Bytes())
	}
	return code, said.String(), err
}

// complain has the go command itself say what is wrong with the packages.
func (w *Weaver) complain(ctx context.Context, inv *invocation, wrong error) (code int, err error) {
	dir, err := w.folder(inv)
	if err != nil {
		return 1, err
	}
	tool, err := findGo(ctx, dir)
	if err != nil {
		return 1, err
	}
	if code, err = w.goCommand(ctx, tool, inv.args(), w.Stdout, w.Stderr); code != 0 || err != nil {
		return code, err
	}
	return 1, wrong
}

func (w *Weaver) goCommand(ctx context.Context, tool *goTool, args []string, stdout, stderr io.Writer) (code int, err error) {
	c := tool.command(ctx, args...)
	c.Stdin, c.Stdout, c.Stderr = w.Stdin, stdout, stderr
	if code, err = exitCode(c.Run()); err != nil {
		return 1, fmt.Errorf("run go %s: %w", args[0], err)
	}
	return code, nil
}

// args are those of the go command.
func (p *Plan) args(inv *invocation) []string {
	theirs := inv.without("overlay")
	theirs.packages = slices.Concat(theirs.packages, p.extra)
	return theirs.args("-overlay=" + p.Overlay)
}

// tryPlain finds out whether a build that has failed would do without weaving.
func (w *Weaver) tryPlain(ctx context.Context, p *Plan, inv *invocation, code int, message string) (int, error) {
	if inv.verb == "test" || !p.ourFault(message) {
		return code, nil // the user's own error, and shown
	}
	plain, err := w.goCommand(ctx, p.tool, inv.args(), w.Stdout, w.Stderr)
	if err != nil || plain != 0 {
		return plain, err
	}
	w.warn("WARNING: the woven build failed, what was built is NOT instrumented:\n" + strings.TrimSpace(message))
	if w.Strict {
		return 1, ErrStrict
	}
	return 0, nil
}

// failedPackage is how the go command begins what it says of a package that does
// not compile; a test that fails may print headings, too.
var failedPackage = regexp.MustCompile(`(?m)^# (\S+).*\n(?:# .*\n)*\S+: `)

// ourFault reports whether something does not compile that was woven, or is ours.
func (p *Plan) ourFault(message string) bool {
	return strings.Contains(message, "\n# guanlan/") || strings.HasPrefix(message, "# guanlan/") || len(p.blame(message)) > 0
}

// blame names the aspects of libraries whose packages do not compile.
func (p *Plan) blame(message string) []string {
	var names []string
	for _, m := range failedPackage.FindAllStringSubmatch(message, -1) {
		for _, w := range p.Woven {
			if w.Package == m[1] && !slices.Contains(names, w.Aspect) {
				names = append(names, w.Aspect)
			}
		}
	}
	return names
}

// maxMessage is as much of a program's own messages as is looked through for
// what the compiler has said, which comes first.
const maxMessage = 64 << 10

// head keeps the first bytes of what is written.
type head struct {
	to    *bytes.Buffer
	limit int
}

func (t *head) Write(p []byte) (int, error) {
	t.to.Write(p[:min(len(p), max(t.limit-t.to.Len(), 0))])
	return len(p), nil
}

func readBuiltIn() ([]*Aspect, error) {
	folder, err := fs.Sub(builtIn, "aspects")
	if err != nil {
		return nil, fmt.Errorf("BUG: %w", err)
	}
	return readFolders(folder)
}
