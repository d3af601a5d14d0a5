package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// file is one Go file that the build constraints let in.
type file struct {
	text   []byte
	fset   *token.FileSet
	syntax *ast.File
	build  constraint.Expr // what is left of its constraints; nil for none
	pruned []span          // see prune
}

// span is a part of a file's text.
type span struct{ from, to int }

// readFiles returns the Go files of the folder that a woven build may need, on
// whatever platform.
func readFiles(dir string) (map[string]*file, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	files := map[string]*file{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || strings.ContainsAny(filepath.Base(name)[:1], "_.") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if f != nil && len(f.syntax.Decls) > 0 {
			files[filepath.Base(name)] = f
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no Go file in %s", dir)
	}
	return files, nil
}

// parse returns nil for a file that is left out.
func parse(text []byte) (*file, error) {
	f := &file{text: text, fset: token.NewFileSet()}
	var err error
	if f.syntax, err = parser.ParseFile(f.fset, "", text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		return nil, err
	}
	given, err := f.constraint()
	if err != nil || given == nil {
		return f, err
	}
	left, always, known := settle(given)
	switch {
	case !known:
		f.build = left
	case !always:
		return nil, nil
	}
	return f, nil
}

// constraint returns the build constraint above the package clause, nil if there is none.
func (f *file) constraint() (constraint.Expr, error) {
	var old constraint.Expr
	for _, g := range f.syntax.Comments {
		for _, c := range g.List {
			if c.Pos() > f.syntax.Package {
				return old, nil
			}
			if !constraint.IsGoBuild(c.Text) && !constraint.IsPlusBuild(c.Text) {
				continue
			}
			e, err := constraint.Parse(c.Text)
			switch {
			case err != nil:
				return nil, err
			case constraint.IsGoBuild(c.Text):
				return e, nil
			case old == nil:
				old = e
			default:
				old = &constraint.AndExpr{X: old, Y: e}
			}
		}
	}
	return old, nil
}

// settled are the tags that are the same in every woven build. The assembly of
// purego's other side is left out: our hashes are of a few bytes.
var settled = map[string]bool{
	"guanlan_woven": true, "guanlan_std": true, "purego": true,
	"guanlan_stock": false, "appengine": false, "ignore": false,
}

// settle returns what is left of a constraint once these tags are known; or,
// when known, whether it holds.
func settle(e constraint.Expr) (left constraint.Expr, holds, known bool) {
	switch e := e.(type) {
	case *constraint.TagExpr:
		holds, known = settled[e.Tag]
		return e, holds, known
	case *constraint.NotExpr:
		left, holds, known = settle(e.X)
		return &constraint.NotExpr{X: left}, !holds, known
	case *constraint.AndExpr:
		x, xHolds, xKnown := settle(e.X)
		y, yHolds, yKnown := settle(e.Y)
		switch {
		case xKnown && !xHolds, yKnown && yHolds:
			return x, xHolds, xKnown
		case yKnown && !yHolds, xKnown && xHolds:
			return y, yHolds, yKnown
		}
		return &constraint.AndExpr{X: x, Y: y}, false, false
	case *constraint.OrExpr:
		x, xHolds, xKnown := settle(e.X)
		y, yHolds, yKnown := settle(e.Y)
		switch {
		case xKnown && xHolds, yKnown && !yHolds:
			return x, xHolds, xKnown
		case yKnown && yHolds, xKnown && !xHolds:
			return y, yHolds, yKnown
		}
		return &constraint.OrExpr{X: x, Y: y}, false, false
	}
	panic(fmt.Sprintf("BUG: constraint %T", e))
}

func (f *file) imports() []string {
	var all []string
	for _, i := range f.syntax.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		all = append(all, path)
	}
	return all
}

func (f *file) offset(p token.Pos) int { return f.fset.Position(p).Offset }

// edit replaces a part of the text.
type edit struct {
	span
	with string
}

var (
	licence  = regexp.MustCompile(`Copyright|SPDX-License-Identifier`)
	linkname = regexp.MustCompile(`^//go:linkname \S+ (\S+)\.`)
)

// source returns the file without comments, but for its licence, directives and
// what is left of its constraints; every line keeps its number. With rewrite its
// imports get their new paths.
func (f *file) source(rewrite bool, note string) ([]byte, error) {
	edits, err := f.comments()
	if err != nil {
		return nil, err
	}
	if rewrite {
		for _, i := range f.syntax.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if to := rewritten(path); to != path {
				edits = append(edits, edit{span{f.offset(i.Path.Pos()), f.offset(i.Path.End())}, strconv.Quote(to)})
			}
		}
	}
	for _, s := range f.pruned {
		edits = append(edits, edit{s, strings.Repeat("\n", bytes.Count(f.text[s.from:s.to], []byte("\n")))})
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		if e.from < at {
			continue // in a part that was pruned
		}
		out.Write(f.text[at:e.from])
		out.WriteString(e.with)
		at = e.to
	}
	out.Write(f.text[at:])
	text := append(bytes.TrimRight(out.Bytes(), "\n"), '\n')
	if note != "" {
		text = append(text, note+"\n"...)
	}
	if _, err := parser.ParseFile(token.NewFileSet(), "", text, parser.SkipObjectResolution); err != nil {
		return nil, fmt.Errorf("what the generator made does not parse: %w", err)
	}
	return text, nil
}

// comments returns the edits that take the comments out.
func (f *file) comments() ([]edit, error) {
	var (
		edits []edit
		s     scanner.Scanner
		errs  scanner.ErrorList
	)
	fset := token.NewFileSet()
	s.Init(fset.AddFile("", -1, len(f.text)), f.text, errs.Add, scanner.ScanComments)
	built := f.build == nil
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			return edits, errs.Err()
		}
		if tok != token.COMMENT {
			continue
		}
		at := span{fset.Position(pos).Offset, 0}
		at.to = at.from + len(text)
		header := at.from < f.offset(f.syntax.Package)
		with := strings.Repeat("\n", strings.Count(text, "\n"))
		switch {
		case header && (constraint.IsGoBuild(text) || constraint.IsPlusBuild(text)):
			if !built {
				with, built = "//go:build "+f.build.String(), true
			}
		case header && licence.MatchString(text):
			continue
		case strings.HasPrefix(text, "//go:") && !strings.HasPrefix(text, "//go:generate"):
			if m := linkname.FindStringSubmatch(text); m != nil && rewritten(m[1]) != m[1] {
				return nil, fmt.Errorf("%q names a package that is moved", text)
			}
			continue
		}
		if end := at.to; with == "" && (end == len(f.text) || f.text[end] == '\n') {
			for at.from > 0 && (f.text[at.from-1] == ' ' || f.text[at.from-1] == '\t') {
				at.from--
			}
		} else if with == "" {
			with = " "
		}
		edits = append(edits, edit{at, with})
	}
}
