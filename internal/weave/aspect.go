package weave

import (
	"bytes"
	"errors"
	"fmt"
	"go/version"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/semver"
)

// Aspect is what is woven for one library: points in its sources, and files that
// are added to its packages. All of it is woven, or nothing.
type Aspect struct {
	Name     string          `yaml:"name"`
	About    string          `yaml:"about"` // what is captured
	Packages []AspectPackage `yaml:"packages"`
	// UnlessSDK leaves the aspect out of programs that have our SDK in them
	// already.
	UnlessSDK bool `yaml:"unless_sdk"`

	files map[string][]byte // of its folder
}

// AspectPackage is what is woven into one package.
type AspectPackage struct {
	Path string `yaml:"path"`
	// Versions is the tested range of the package's module, as ">=v1.7.0
	// <v2.0.0". Outside of it weaving is tried, with a warning. Empty for
	// packages of the standard library.
	Versions string      `yaml:"versions"`
	Imports  []Import    `yaml:"imports"` // for inserted code
	Files    []string    `yaml:"files"`   // added to the package
	Without  string      `yaml:"without"` // added instead of Files when the aspect is left out
	Fold     []string    `yaml:"fold"`    // bindings of ours that are merged into the package
	Points   []JoinPoint `yaml:"points"`
}

// Import is an import that inserted code needs.
type Import struct {
	Name string `yaml:"name"`
	Path string `yaml:"path"`
}

// JoinPoint is a place in a package's sources and what becomes of it. In Code,
// $0 and so on are the parameters of the function, $r0 its results, $x its
// receiver, and $& what stood at the place of Replace. Code is on one line: the
// lines of the woven source keep their numbers.
type JoinPoint struct {
	Func    string `yaml:"func"` // Func or Type.Method
	Entry   string `yaml:"entry"`
	Before  string `yaml:"before"`
	After   string `yaml:"after"`
	Replace string `yaml:"replace"`
	Type    string `yaml:"type"`  // of a struct that gets a field
	Field   string `yaml:"field"` // behind this one; empty: as the first
	Code    string `yaml:"code"`

	ID       string `yaml:"id"`       // of points with the same one, a single match is enough
	Optional bool   `yaml:"optional"` // it may match nowhere
	Since    string `yaml:"since"`    // the first version of Go, or of the module, that has it
	Until    string `yaml:"until"`    // the first one that has it no more
}

// place is the point in words.
func (p *JoinPoint) place() string {
	switch {
	case p.Type != "" && p.Field != "":
		return fmt.Sprintf("field %s of type %s", p.Field, p.Type)
	case p.Type != "":
		return "type " + p.Type
	case p.Entry != "":
		return "func " + p.Func
	}
	return fmt.Sprintf("%q in func %s", p.Before+p.After+p.Replace, p.Func)
}

func (p *JoinPoint) check() error {
	n := 0
	for _, s := range []string{p.Entry, p.Before, p.After, p.Replace} {
		if s != "" {
			n++
		}
	}
	code := p.Code
	if p.Entry != "" {
		code = p.Entry
	}
	switch {
	case p.Type != "" && (p.Func != "" || n > 0):
		return errors.New("type: a field is added to a struct; func, entry, before, after and replace are for functions")
	case p.Type == "" && p.Func == "":
		return errors.New("func: name the function, as Handle or Server.Handle, or the struct by type")
	case p.Type == "" && n != 1:
		return errors.New("give one of entry, before, after and replace")
	case p.Entry != "" && p.Code != "":
		return errors.New("code: entry is the code already")
	case code == "":
		return errors.New("code: say what to insert")
	case strings.Contains(strings.TrimSpace(code), "\n"):
		return errors.New("code: write it on one line; lines must keep their numbers")
	}
	return nil
}

// counts reports whether the point is of this version of Go, or of the module.
func (p *JoinPoint) counts(v string) bool {
	less := func(a, b string) bool {
		if strings.HasPrefix(b, "go") {
			return version.Compare(a, b) < 0
		}
		return semver.Compare(a, b) < 0
	}
	return (p.Since == "" || v == "" || !less(v, p.Since)) && (p.Until == "" || v == "" || less(v, p.Until))
}

// tested reports whether a version is in a range as ">=v1.7.0 <v2.0.0".
func tested(versions, v string) bool {
	for _, bound := range strings.Fields(versions) {
		var ok bool
		switch {
		case strings.HasPrefix(bound, ">="):
			ok = semver.Compare(v, bound[2:]) >= 0
		case strings.HasPrefix(bound, "<="):
			ok = semver.Compare(v, bound[2:]) <= 0
		case strings.HasPrefix(bound, "<"):
			ok = semver.Compare(v, bound[1:]) < 0
		}
		if !ok {
			return false
		}
	}
	return true
}

func checkVersions(versions string) error {
	for _, bound := range strings.Fields(versions) {
		if v := strings.TrimLeft(bound, "<>="); v == bound || !semver.IsValid(v) {
			return fmt.Errorf("versions: %q is no bound: write it as >=v1.2.0, <=v1.9.0 or <v2.0.0", bound)
		}
	}
	return nil
}

// aspectFile is what an aspect's folder has its rules in.
const aspectFile = "aspect.yaml"

// readAspect reads the aspect of a folder of fsys.
func readAspect(fsys fs.FS, dir string) (*Aspect, error) {
	name := path.Join(dir, aspectFile)
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read aspect: %w", err)
	}
	a := &Aspect{files: map[string][]byte{}}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(a); err != nil {
		return nil, fmt.Errorf("read aspect %s: %w", name, err)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("read aspect %s: %w", name, err)
	}
	for _, p := range a.Packages {
		files := slices.Clone(p.Files)
		if p.Without != "" {
			files = append(files, p.Without)
		}
		for _, f := range files {
			if a.files[f], err = fs.ReadFile(fsys, path.Join(dir, f)); err != nil {
				return nil, fmt.Errorf("read aspect %s: packages: %s: files: %w", name, p.Path, err)
			}
		}
	}
	return a, nil
}

func (a *Aspect) check() error {
	if a.Name == "" || strings.ContainsAny(a.Name, " ,/\\") {
		return fmt.Errorf("name: %q: give a short word, as gin", a.Name)
	}
	if len(a.Packages) == 0 {
		return errors.New("packages: name at least one")
	}
	for _, p := range a.Packages {
		if p.Path == "" {
			return errors.New("packages: path: name the package that is woven")
		}
		if err := checkVersions(p.Versions); err != nil {
			return fmt.Errorf("packages: %s: %w", p.Path, err)
		}
		for _, imp := range p.Imports {
			if imp.Name == "" || imp.Path == "" {
				return fmt.Errorf("packages: %s: imports: give name and path of each", p.Path)
			}
		}
		for i := range p.Points {
			if err := p.Points[i].check(); err != nil {
				return fmt.Errorf("packages: %s: points: %d: %w", p.Path, i+1, err)
			}
		}
	}
	return nil
}

// ReadAspects reads the aspects of a file or folder of a user: the file itself,
// the folder's own, or those of the folders in it.
func ReadAspects(name string) ([]*Aspect, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read aspects: %w", err)
	}
	if !info.IsDir() {
		if filepath.Base(name) != aspectFile {
			return nil, fmt.Errorf("read aspects %s: a file must be called %s, beside the files that it names", name, aspectFile)
		}
		name = filepath.Dir(name)
	}
	fsys := os.DirFS(name)
	if _, err := fs.Stat(fsys, aspectFile); err == nil {
		a, err := readAspect(fsys, ".")
		if err != nil {
			return nil, err
		}
		return []*Aspect{a}, nil
	}
	all, err := readFolders(fsys)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("read aspects %s: neither it nor a folder in it has an %s", name, aspectFile)
	}
	return all, err
}

func readFolders(fsys fs.FS) ([]*Aspect, error) {
	names, err := fs.Glob(fsys, "*/"+aspectFile)
	if err != nil {
		return nil, fmt.Errorf("list aspects: %w", err)
	}
	var all []*Aspect
	for _, n := range names {
		a, err := readAspect(fsys, path.Dir(n))
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}
