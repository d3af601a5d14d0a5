package weave

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// invocation is what the user has typed: a verb of the go command and all that
// follows.
type invocation struct {
	verb     string
	dir      string   // of -C; or empty
	flags    []string // before the packages, each as -name=value or -name
	packages []string // as given; files of one package, too
	rest     []string // behind the packages: flags of tests, arguments of a program
}

// switches are the flags of go build and go test that have no value.
var switches = strings.Fields("a asan benchmem c cover failfast fullpath i json linkshared modcacherw msan n race short trimpath v work x artifacts")

// parse takes the arguments of a verb apart as the go command does.
func parse(verb string, args []string) (*invocation, error) {
	inv := &invocation{verb: verb}
	i := 0
	for ; i < len(args) && strings.HasPrefix(args[i], "-") && args[i] != "-"; i++ {
		if args[i] == "--" {
			i++
			break
		}
		if verb == "test" && strings.TrimLeft(args[i], "-") == "args" {
			break
		}
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if !given && FlagTakesValue(name) {
			if i+1 == len(args) {
				return nil, fmt.Errorf("flag -%s needs a value", name)
			}
			i++
			value, given = args[i], true
		}
		if name == "C" {
			inv.dir = value
			continue
		}
		flag := "-" + name
		if given {
			flag += "=" + value
		}
		inv.flags = append(inv.flags, flag)
	}
	rest := args[i:]
	n := len(rest)
	switch verb {
	case "run": // one package, or the files of one
		n = 0
		for n < len(rest) && strings.HasSuffix(rest[n], ".go") {
			n++
		}
		if n == 0 && len(rest) > 0 {
			n = 1
		}
	case "test": // flags may stand behind the packages
		if n = slices.IndexFunc(rest, func(a string) bool { return strings.HasPrefix(a, "-") }); n < 0 {
			n = len(rest)
		}
	}
	inv.packages, inv.rest = rest[:n], rest[n:]
	return inv, nil
}

// flag is the value of a flag; "true" of one without a value.
func (inv *invocation) flag(name string) (value string, ok bool) {
	for _, f := range slices.Backward(slices.Concat(inv.flags, inv.restFlags())) {
		n, v, given := strings.Cut(f, "=")
		if n != "-"+name {
			continue
		}
		if !given {
			v = "true"
		}
		return v, v != "false"
	}
	return "", false
}

// restFlags are those that go test takes behind the packages, as far as they are
// written with an equals sign or have no value.
func (inv *invocation) restFlags() []string {
	if inv.verb != "test" {
		return nil
	}
	var flags []string
	for _, a := range inv.rest {
		if a == "-args" || a == "--args" {
			break
		}
		if strings.HasPrefix(a, "-") {
			flags = append(flags, "-"+strings.TrimLeft(a, "-"))
		}
	}
	return flags
}

// without is the invocation without a flag.
func (inv *invocation) without(name string) *invocation {
	c := *inv
	c.flags = slices.DeleteFunc(slices.Clone(inv.flags), func(f string) bool {
		n, _, _ := strings.Cut(f, "=")
		return n == "-"+name
	})
	return &c
}

// args are the arguments of the go command.
func (inv *invocation) args(more ...string) []string {
	args := append([]string{inv.verb}, more...)
	args = append(args, inv.flags...)
	args = append(args, inv.packages...)
	return append(args, inv.rest...)
}

// listFlags are the flags that which files are built depends on.
func (inv *invocation) listFlags() []string {
	var flags []string
	for _, f := range slices.Concat(inv.flags, inv.restFlags()) {
		name, _, _ := strings.Cut(f, "=")
		switch name {
		case "-tags", "-mod", "-modfile", "-overlay", "-race", "-msan", "-asan", "-compiler", "-modcacherw":
			flags = append(flags, f)
		}
	}
	return flags
}

// files reports whether the packages are the files of one, and their folder.
func (inv *invocation) files() (dir string, ok bool) {
	if len(inv.packages) == 0 || !strings.HasSuffix(inv.packages[0], ".go") {
		return "", false
	}
	return filepath.Dir(inv.packages[0]), true
}

// FlagTakesValue reports whether a flag of the go command is followed by its
// value, where it has none behind an equals sign.
func FlagTakesValue(name string) bool {
	return name != "buildvcs" && !slices.Contains(switches, name)
}
