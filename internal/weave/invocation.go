package weave

import (
	"errors"
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
	flags    []string // that the go command knows, each as -name=value or -name
	packages []string // as given; files of one package, too
	rest     []string // behind them: arguments of a program, and flags of tests that the go command does not know
}

// switches are the flags of go build, go run and go test that have no value of
// their own, so that one is only taken behind an equals sign.
var switches = strings.Fields("a artifacts asan benchmem buildvcs c cover failfast fullpath i json linkshared modcacherw msan n race short trimpath v work x")

// valued are the flags of go test that have a value. What is in neither list is
// for the test itself, and ends the list of packages.
var valued = strings.Fields(`C asmflags bench benchtime blockprofile blockprofilerate buildmode compiler count covermode coverpkg coverprofile
	cpu cpuprofile debug-actiongraph debug-runtime-trace debug-trace exec fuzz fuzzcachedir fuzzminimizetime fuzztime gccgoflags gcflags
	installsuffix ldflags list memprofile memprofilerate mod modfile mutexprofile mutexprofilefraction o outputdir overlay p parallel
	pgo pkgdir run shuffle skip tags timeout toolexec trace vet`)

// flagName is the name of a flag, without its value. Those of a test's binary,
// as -test.run, are the go command's, too.
func flagName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	return strings.TrimPrefix(name, "test.")
}

// FlagTakesValue reports whether a flag of the go command is followed by its
// value, where it has none behind an equals sign.
func FlagTakesValue(verb, name string) bool {
	name = flagName(name)
	return !slices.Contains(switches, name) && (verb != "test" || slices.Contains(valued, name))
}

// parse takes the arguments of a verb apart as the go command does.
func parse(verb string, args []string) (*invocation, error) {
	inv := &invocation{verb: verb}
	if verb == "test" {
		return inv, inv.parseTest(args)
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		if args[0] == "--" {
			args = args[1:]
			break
		}
		var err error
		if args, err = inv.take(args); err != nil {
			return nil, err
		}
	}
	n := len(args)
	if verb == "run" { // one package, or the files of one
		n = 0
		for n < len(args) && strings.HasSuffix(args[n], ".go") {
			n++
		}
		if n == 0 && len(args) > 0 {
			n = 1
		}
	}
	inv.packages, inv.rest = args[:n], args[n:]
	return inv, nil
}

// parseTest is parse for go test, whose flags may stand behind the packages and
// among those that it does not know.
func (inv *invocation) parseTest(args []string) error {
	ended := false // the list of packages
	for len(args) > 0 {
		name := flagName(args[0])
		switch {
		case args[0] == "-args" || args[0] == "--args":
			inv.rest = append(inv.rest, args...)
			return nil
		case !strings.HasPrefix(args[0], "-") || args[0] == "-":
			if ended {
				inv.rest = append(inv.rest, args...)
				return nil
			}
			n := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") })
			if n < 0 {
				n = len(args)
			}
			inv.packages, args, ended = args[:n], args[n:], true
		case !slices.Contains(switches, name) && !slices.Contains(valued, name):
			inv.rest = append(inv.rest, args[0])
			args, ended = args[1:], true
		default:
			var err error
			if args, err = inv.take(args); err != nil {
				return err
			}
		}
	}
	return nil
}

// take takes the flag that args begin with, and its value.
func (inv *invocation) take(args []string) (rest []string, err error) {
	name, value, given := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	args = args[1:]
	if !given && FlagTakesValue(inv.verb, name) {
		if len(args) == 0 {
			return nil, fmt.Errorf("flag -%s needs a value", name)
		}
		value, args, given = args[0], args[1:], true
	}
	if name == "C" {
		inv.dir = value
		return args, nil
	}
	flag := "-" + name
	if given {
		flag += "=" + value
	}
	inv.flags = append(inv.flags, flag)
	return args, nil
}

// flag is the value of a flag; "true" of one without a value.
func (inv *invocation) flag(name string) (value string, ok bool) { return lookup(inv.flags, name) }

// lookup is the value of a flag, of which the last one counts.
func lookup(flags []string, name string) (value string, ok bool) {
	for _, f := range slices.Backward(flags) {
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
	for _, f := range inv.flags {
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

// splitWords takes a list of flags apart, as GOFLAGS is: words may stand in single
// or double quotes, and there is no way to have a quote within its like.
func splitWords(s string) ([]string, error) {
	var words []string
	for s = strings.TrimLeft(s, " \t\r\n"); s != ""; s = strings.TrimLeft(s, " \t\r\n") {
		if quote := s[0]; quote == '"' || quote == '\'' {
			word, rest, ok := strings.Cut(s[1:], string(quote))
			if !ok {
				return nil, errors.New("a quote is not closed")
			}
			words, s = append(words, word), rest
			continue
		}
		n := strings.IndexAny(s, " \t\r\n")
		if n < 0 {
			n = len(s)
		}
		words, s = append(words, s[:n]), s[n:]
	}
	return words, nil
}

// joinWords is the reverse of splitWords.
func joinWords(words []string) (string, error) {
	quoted := make([]string, len(words))
	for i, w := range words {
		switch {
		case !strings.ContainsAny(w, " \t\r\n'\"") && w != "":
			quoted[i] = w
		case !strings.Contains(w, "'"):
			quoted[i] = "'" + w + "'"
		case !strings.Contains(w, `"`):
			quoted[i] = `"` + w + `"`
		default:
			return "", fmt.Errorf("%s has both kinds of quotes, which GOFLAGS cannot hold", w)
		}
	}
	return strings.Join(quoted, " "), nil
}
