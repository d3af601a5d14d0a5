package audit

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxRuleFile bounds what is parsed: some thousand rules, more than anybody can judge.
	maxRuleFile = 1 << 20
	// maxRules bounds the work for an event: a rule of an event's kind costs some 0.2 µs.
	maxRules = 1000
	// maxValues bounds one list after others were put in.
	maxValues = 1000
	// rulesVersion is the format of rule files that this code reads.
	rulesVersion = 1
)

//go:embed rules.yaml
var builtin []byte

// Rules decides what about an event deserves a finding. Rules are data: a rule
// says which fields of an event it wants, all of them, each with one of the
// listed values; `unless` and `allow` say by the same fields when it is fine.
// There is no condition language: what plain fields cannot say belongs into a
// query over the stored events.
//
// A Rules is immutable and safe for concurrent use.
type Rules struct {
	all    []*Rule
	off    []*Rule // disabled by a file
	byKind [Lost + 1][]*Rule
	tree   tree
}

// Rule is one rule.
type Rule struct {
	ID       string `yaml:"id"`
	Title    string `yaml:"title"`
	Why      string `yaml:"why"`
	Severity string `yaml:"severity"` // info, notice, warning, critical
	Attack   string `yaml:"attack"`   // MITRE ATT&CK technique
	On       strs   `yaml:"on"`       // kinds of event
	Match    `yaml:",inline"`
	Unless   []Match `yaml:"unless"`
	File     int     `yaml:"-"` // which of the files of ParseRules it is from, the first is 0

	kinds    []Kind
	severity Severity
}

// Match is what an event is asked for. Each field that is set must hold; a list
// holds if one of its values does. In patterns * stands for any bytes but / and
// ** for any; a pattern of Exe without / is for the last name. "$name" is a list
// of the file.
type Match struct {
	In        string   `yaml:"in"`     // container, host
	Exe       strs     `yaml:"exe"`    // the program: as it lies on disk, as it was called
	Args      strs     `yaml:"args"`   // text within the command line
	Parent    strs     `yaml:"parent"` // name (comm) of the parent, patterns
	Ancestor  strs     `yaml:"ancestor"`
	Path      strs     `yaml:"path"`   // of open, connect, mount, module
	Access    string   `yaml:"access"` // write, read
	Result    string   `yaml:"result"` // ok, denied
	Call      strs     `yaml:"call"`   // system call, or "clone"
	Namespace strs     `yaml:"namespace"`
	Source    strs     `yaml:"source"` // of mount
	FSType    strs     `yaml:"fstype"`
	Detail    strs     `yaml:"detail"`
	Container strs     `yaml:"container"` // name or id
	Pod       strs     `yaml:"pod"`
	Image     strs     `yaml:"image"`
	Service   strs     `yaml:"service"`
	Cgroup    strs     `yaml:"cgroup"`
	UID       []uint32 `yaml:"uid"`
	Terminal  *bool    `yaml:"terminal"`
	Entered   *bool    `yaml:"entered"`
	First     *bool    `yaml:"first"` // the first process of its container
	Unlinked  *bool    `yaml:"unlinked"`
	Created   *bool    `yaml:"created"`
}

// strs is a list of strings; in YAML one string will do.
type strs []string

func (s *strs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		var one string
		if err := n.Decode(&one); err != nil {
			return err
		}
		*s = strs{one}
		return nil
	}
	var many []string
	if err := n.Decode(&many); err != nil {
		return err
	}
	*s = many
	return nil
}

type ruleFile struct {
	Version int             `yaml:"version"`
	Lists   map[string]strs `yaml:"lists"`
	Rules   []*Rule         `yaml:"rules"`
	Allow   []struct {
		Rule   strs   `yaml:"rule"` // "*": all
		Reason string `yaml:"reason"`
		Match  `yaml:",inline"`
	} `yaml:"allow"`
	Disable strs `yaml:"disable"`
}

// DefaultRules are the rules that come with the program.
func DefaultRules() *Rules {
	r, err := ParseRules(builtin)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return r
}

// Builtin is the text of the default rules, to be read and to be the first of ParseRules.
func Builtin() []byte { return bytes.Clone(builtin) }

// ParseRules reads rule files, later ones over earlier: a rule or list of the
// same name replaces, `allow` adds, `disable` takes away. Who gives several and wants
// to say which one is wrong adds one at a time.
func ParseRules(files ...[]byte) (*Rules, error) {
	lists := map[string]strs{}
	out := &Rules{}
	for i, text := range files {
		if len(text) > maxRuleFile {
			return nil, fmt.Errorf("parse rules: larger than %d bytes", maxRuleFile)
		}
		var f ruleFile
		dec := yaml.NewDecoder(bytes.NewReader(text))
		dec.KnownFields(true)
		if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("parse rules: %w", err)
		}
		if f.Version != rulesVersion {
			return nil, fmt.Errorf("parse rules: version %d, want %d", f.Version, rulesVersion)
		}
		for name, l := range f.Lists {
			lists[name] = l
		}
		for _, r := range f.Rules {
			if r == nil {
				return nil, errors.New("parse rules: an empty rule")
			}
			r.File = i
			out.off = slices.DeleteFunc(out.off, func(x *Rule) bool { return x.ID == r.ID })
			if at := out.index(r.ID); at >= 0 {
				out.all[at] = r
			} else {
				out.all = append(out.all, r)
			}
		}
		for _, a := range f.Allow {
			if a.Match.empty() {
				return nil, errors.New("parse rules: an allowance without a condition; use disable")
			}
			for _, id := range a.Rule {
				if id == "*" {
					for _, r := range out.all {
						r.Unless = append(r.Unless, a.Match)
					}
				} else if at := out.index(id); at >= 0 {
					out.all[at].Unless = append(out.all[at].Unless, a.Match)
				} else {
					return nil, fmt.Errorf("parse rules: allow names rule %q, which is not there", id)
				}
			}
			if len(a.Rule) == 0 {
				return nil, errors.New("parse rules: an allowance names no rule")
			}
		}
		for _, id := range f.Disable {
			at := out.index(id)
			if at < 0 {
				return nil, fmt.Errorf("parse rules: disable names rule %q, which is not there", id)
			}
			out.off = append(out.off, out.all[at])
			out.all = slices.Delete(out.all, at, at+1)
		}
	}
	if len(out.all) > maxRules {
		return nil, fmt.Errorf("parse rules: %d rules, at most %d", len(out.all), maxRules)
	}
	return out, out.compile(lists)
}

func (r *Rules) index(id string) int {
	return slices.IndexFunc(r.all, func(x *Rule) bool { return x.ID == id })
}

// All lists the rules in the order of their files. They must not be changed.
func (r *Rules) All() []*Rule { return r.all }

// Disabled lists the rules that a file took away, as they were written. They must
// not be changed.
func (r *Rules) Disabled() []*Rule { return r.off }

func (r *Rules) compile(lists map[string]strs) error {
	var paths []watchedPath
	for _, rule := range r.all {
		if err := rule.compile(lists); err != nil {
			return fmt.Errorf("rule %q: %w", rule.ID, err)
		}
		for _, k := range rule.kinds {
			r.byKind[k] = append(r.byKind[k], rule)
			if k != Open && k != Connect {
				continue
			}
			if len(rule.Path) == 0 {
				return fmt.Errorf("rule %q: %s needs a path", rule.ID, k)
			}
			for _, p := range rule.Path {
				paths = append(paths, watchedPath{p, rule.Access == "write"})
			}
		}
	}
	var err error
	r.tree, err = compileTree(paths)
	if err != nil {
		return fmt.Errorf("compile paths of rules: %w", err)
	}
	return nil
}

func (r *Rule) compile(lists map[string]strs) error {
	if r.ID == "" || strings.ContainsAny(r.ID, " \t\n*$") {
		return errors.New("an id without spaces, stars and dollars is needed")
	}
	if r.Title == "" {
		return errors.New("a title is needed")
	}
	if s := slices.Index(severityNames[:], r.Severity); s > 0 {
		r.severity = Severity(s)
	} else {
		return fmt.Errorf("severity %q: want one of %s", r.Severity, strings.Join(severityNames[1:], ", "))
	}
	if !technique(r.Attack) {
		return fmt.Errorf("attack %q: want a technique of MITRE ATT&CK such as T1059 or T1059.004", r.Attack)
	}
	r.kinds = r.kinds[:0]
	for _, name := range r.On {
		k := KindNamed(name)
		if k == 0 {
			return fmt.Errorf("on %q: no such kind of event", name)
		}
		if slices.Contains(r.kinds, k) {
			return fmt.Errorf("on %q: twice", name)
		}
		r.kinds = append(r.kinds, k)
	}
	if len(r.kinds) == 0 {
		return errors.New("on: a kind of event is needed")
	}
	if err := r.Match.compile(lists); err != nil {
		return err
	}
	r.Unless = slices.Clone(r.Unless)
	for i := range r.Unless {
		if r.Unless[i].empty() {
			return errors.New("an empty unless would allow everything")
		}
		if err := r.Unless[i].compile(lists); err != nil {
			return fmt.Errorf("unless: %w", err)
		}
	}
	return nil
}

// technique reports whether s looks like T1059 or T1059.004.
func technique(s string) bool {
	main, sub, dotted := strings.Cut(s, ".")
	digits := func(s string, n int) bool {
		return len(s) == n && strings.Trim(s, "0123456789") == ""
	}
	return strings.HasPrefix(main, "T") && digits(main[1:], 4) && (!dotted || digits(sub, 3))
}

func (m *Match) lists() []*strs {
	return []*strs{&m.Exe, &m.Args, &m.Parent, &m.Ancestor, &m.Path, &m.Call, &m.Namespace, &m.Source, &m.FSType,
		&m.Detail, &m.Container, &m.Pod, &m.Image, &m.Service, &m.Cgroup}
}

func (m *Match) empty() bool {
	for _, l := range m.lists() {
		if len(*l) > 0 {
			return false
		}
	}
	return m.In == "" && m.Access == "" && m.Result == "" && len(m.UID) == 0 && m.Terminal == nil && m.Entered == nil &&
		m.First == nil && m.Unlinked == nil && m.Created == nil
}

func (m *Match) compile(lists map[string]strs) error {
	for _, l := range m.lists() {
		var out strs
		if err := expand(&out, *l, lists, 0); err != nil {
			return err
		}
		*l = out
	}
	for _, c := range []struct{ field, got, a, b string }{
		{"in", m.In, "container", "host"}, {"access", m.Access, "write", "read"}, {"result", m.Result, "ok", "denied"},
	} {
		if c.got != "" && c.got != c.a && c.got != c.b {
			return fmt.Errorf("%s %q: want %s or %s", c.field, c.got, c.a, c.b)
		}
	}
	for _, n := range m.Namespace {
		if !slices.ContainsFunc(namespaceTypes[:], func(t namespaceType) bool { return t.name == n }) {
			return fmt.Errorf("namespace %q: no such type", n)
		}
	}
	return nil
}

// maxNesting ends lists that hold themselves.
const maxNesting = 4

// expand puts lists in the place of their names.
func expand(out *strs, in strs, lists map[string]strs, depth int) error {
	if depth > maxNesting {
		return errors.New("lists are nested too deep, or within themselves")
	}
	for _, s := range in {
		name, isList := strings.CutPrefix(s, "$")
		switch {
		case s == "":
			return errors.New("an empty text would hold for anything")
		case !isList:
			*out = append(*out, s)
		case lists[name] == nil:
			return fmt.Errorf("%q: no such list", s)
		default:
			if err := expand(out, lists[name], lists, depth+1); err != nil {
				return err
			}
		}
		if len(*out) > maxValues {
			return fmt.Errorf("more than %d values", maxValues)
		}
	}
	return nil
}

// interest reports whether a rule names the path of an open or a connect: the
// kernel's tree of paths lets more pass than patterns say.
func (r *Rules) interest(e *Event) bool {
	return e.Truncated || slices.ContainsFunc(r.byKind[e.Kind], func(rule *Rule) bool {
		return (rule.Access != "write" || e.Write || e.Kind == Connect) && anyGlob(rule.Path, e.Path)
	})
}

// Findings returns the rules that e meets, in the order of the files.
func (r *Rules) Findings(e *Event) []Finding {
	if int(e.Kind) >= len(r.byKind) {
		return nil
	}
	var out []Finding
	for _, rule := range r.byKind[e.Kind] {
		if !rule.Match.holds(e, false) || rule.excused(e) {
			continue
		}
		out = append(out, Finding{rule.ID, rule.Title, rule.severity, rule.Attack})
	}
	return out
}

func (r *Rule) excused(e *Event) bool {
	for i := range r.Unless {
		if r.Unless[i].holds(e, true) {
			return true
		}
	}
	return false
}

// holds reports whether all fields of m hold for e. To excuse an event, only
// what the process cannot choose by itself counts for its program: not the name
// that it was called by.
func (m *Match) holds(e *Event, excuse bool) bool {
	is := func(want *bool, got bool) bool { return want == nil || *want == got }
	switch {
	case m.In != "" && (m.In == "container") != e.InContainer(),
		m.Access != "" && (m.Access == "write") != e.Write,
		m.Result != "" && (m.Result == "denied") != e.Denied(),
		!is(m.Terminal, e.Terminal), !is(m.Entered, e.Entered), !is(m.Unlinked, e.Unlinked), !is(m.Created, e.Created),
		!is(m.First, e.NamespacePID == 1),
		len(m.UID) > 0 && !slices.Contains(m.UID, e.UID),
		!m.exe(e, excuse), !m.args(e),
		len(m.Parent) > 0 && (len(e.Ancestors) == 0 || !anyGlob(m.Parent, e.Ancestors[0].Comm)),
		len(m.Ancestor) > 0 && !slices.ContainsFunc(e.Ancestors, func(a Ancestor) bool { return anyGlob(m.Ancestor, a.Comm) }),
		!fits(m.Path, e.Path), !fits(m.Call, e.Call), !fits(m.Source, e.Source), !fits(m.FSType, e.FSType), !fits(m.Detail, e.Detail),
		!fits(m.Pod, e.Pod), !fits(m.Image, e.Image), !fits(m.Service, e.Service), !fits(m.Cgroup, e.Cgroup),
		len(m.Container) > 0 && !anyGlob(m.Container, e.Container) && !anyGlob(m.Container, e.ContainerName),
		len(m.Namespace) > 0 && !slices.ContainsFunc(m.Namespace, func(n string) bool { return slices.Contains(e.Namespaces, n) }):
		return false
	}
	return true
}

func (m *Match) exe(e *Event, excuse bool) bool {
	if len(m.Exe) == 0 {
		return true
	}
	if m.exeIs(e.Exe) {
		return true
	}
	// A login shell's name begins with a dash.
	return !excuse && (e.Kind == Exec && m.exeIs(e.Path) || len(e.Args) > 0 && m.exeIs(strings.TrimPrefix(e.Args[0], "-")))
}

func (m *Match) exeIs(name string) bool {
	if name == "" {
		return false
	}
	base := path.Base(name)
	for _, p := range m.Exe {
		if strings.Contains(p, "/") {
			if glob(p, name) {
				return true
			}
		} else if glob(p, base) {
			return true
		}
	}
	return false
}

func (m *Match) args(e *Event) bool {
	if len(m.Args) == 0 {
		return true
	}
	line := strings.Join(e.Args, " ")
	return slices.ContainsFunc(m.Args, func(s string) bool { return strings.Contains(line, s) })
}

// fits reports whether no pattern is asked for or one fits.
func fits(patterns []string, s string) bool { return len(patterns) == 0 || anyGlob(patterns, s) }

func anyGlob(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s) })
}
