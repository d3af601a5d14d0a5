package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"strconv"
	"strings"
)

// prune leaves in the packages of semantic conventions, thousands of names each,
// only what the other packages use. They hold constants, variables and
// functions, no methods, so what is used is what is named.
func (w *world) prune() error {
	for path, p := range w.packages {
		if !strings.HasPrefix(path, "go.opentelemetry.io/otel/semconv/") {
			continue
		}
		used := map[string]bool{}
		for _, in := range []map[string]*pkg{w.packages, w.folded} {
			for _, other := range in {
				for _, f := range other.files {
					f.uses(path, used)
				}
			}
		}
		if err := p.keep(used); err != nil {
			return fmt.Errorf("prune %s: %w", path, err)
		}
	}
	return nil
}

// uses adds the names that the file uses of the package path, which is imported
// under a name or whose folder is the version of the package above.
func (f *file) uses(of string, used map[string]bool) {
	for _, i := range f.syntax.Imports {
		if p, _ := strconv.Unquote(i.Path.Value); p != of {
			continue
		}
		name := path.Base(path.Dir(of))
		if i.Name != nil {
			name = i.Name.Name
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == name {
					used[s.Sel.Name] = true
				}
			}
			return true
		})
	}
}

// declared is a part of a file that is kept or left out as a whole.
type declared struct {
	file  *file
	node  ast.Node
	names []string
}

func (p *pkg) keep(used map[string]bool) error {
	var all []declared
	for name, f := range p.files {
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					return fmt.Errorf("%s has a method, %s", name, d.Name.Name)
				}
				all = append(all, declared{f, d, []string{d.Name.Name}})
			case *ast.GenDecl:
				if d.Tok == token.IMPORT {
					continue
				}
				for _, s := range d.Specs {
					v, ok := s.(*ast.ValueSpec)
					if !ok || len(v.Values) == 0 {
						return fmt.Errorf("%s has a declaration other than of functions and of values that are given", name)
					}
					one := declared{f, v, nil}
					if !d.Lparen.IsValid() {
						one.node = d
					}
					for _, n := range v.Names {
						one.names = append(one.names, n.Name)
					}
					all = append(all, one)
				}
			}
		}
	}
	for {
		left := all[:0:0]
		for _, d := range all {
			if !d.named(used) {
				left = append(left, d)
				continue
			}
			ast.Inspect(d.node, func(n ast.Node) bool {
				if i, ok := n.(*ast.Ident); ok {
					used[i.Name] = true
				}
				return true
			})
		}
		if len(left) == len(all) {
			break
		}
		all = left
	}
	for _, d := range all {
		d.file.drop(d.node)
	}
	maps.DeleteFunc(p.files, func(_ string, f *file) bool { return !f.tidy() })
	return nil
}

func (d declared) named(used map[string]bool) bool {
	for _, n := range d.names {
		if used[n] {
			return true
		}
	}
	return false
}

// drop takes the node out of the file, and what it is indented with.
func (f *file) drop(n ast.Node) {
	from := f.offset(n.Pos())
	for from > 0 && f.text[from-1] == '\t' {
		from--
	}
	f.pruned = append(f.pruned, span{from, f.offset(n.End())})
}

func (f *file) dropped(n ast.Node) bool {
	at := f.offset(n.Pos())
	for _, s := range f.pruned {
		if s.from <= at && at < s.to {
			return true
		}
	}
	return false
}

// tidy takes out the groups that are empty and the imports that nothing needs any
// more, and reports whether something is left of the file.
func (f *file) tidy() (left bool) {
	named := map[string]bool{}
	for _, d := range f.syntax.Decls {
		g, group := d.(*ast.GenDecl)
		if group && g.Tok == token.IMPORT {
			continue
		}
		empty := true
		ast.Inspect(d, func(n ast.Node) bool {
			if n == nil || f.dropped(n) {
				return false
			}
			if i, ok := n.(*ast.Ident); ok {
				named[i.Name] = true
				empty = false
			}
			return true
		})
		if empty && group {
			f.drop(d)
		}
		left = left || !empty
	}
	for _, d := range f.syntax.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.IMPORT {
			continue
		}
		for _, s := range g.Specs {
			i := s.(*ast.ImportSpec)
			p, _ := strconv.Unquote(i.Path.Value)
			name := path.Base(p)
			if i.Name != nil {
				name = i.Name.Name
			}
			switch {
			case named[name]:
			case g.Lparen.IsValid():
				f.drop(i)
			default:
				f.drop(g)
			}
		}
	}
	return left
}
