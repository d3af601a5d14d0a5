package weave

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"unicode"
)

// A binding of ours, as sdk/grpc, is written against the library from outside.
// Woven, it becomes part of the library's own package: a package more would have
// to be imported by the one it imports, and a vendor folder has no room for it.
// So a binding is written once.

// folded is a package that becomes part of another.
type folded struct {
	path   string // import path
	name   string
	files  map[string]*foldedFile
	names  map[string]bool // that are declared at its top
	embeds map[string]bool // of these, types that are embedded somewhere: field names, too
}

type foldedFile struct {
	*source
	own map[*ast.Object]bool //nolint:staticcheck // the scopes of one file are all that is asked of it
}

// foldName is what a name of a folded package becomes: sdkgrpc.Server is
// guanlanSdkgrpcServer, and its own server is guanlanSdkgrpc_server.
func foldName(pkg, name string) string {
	prefix := "guanlan" + string(unicode.ToUpper(rune(pkg[0]))) + pkg[1:]
	if !ast.IsExported(name) {
		prefix += "_"
	}
	return prefix + name
}

// fold merges packages, given by import path and files, into the package target.
// What it returns are files of that package.
func fold(target, targetName string, packages map[string]map[string][]byte) (map[string]string, error) {
	all := map[string]*folded{}
	for at, files := range packages {
		p, err := parseFolded(at, files)
		if err != nil {
			return nil, fmt.Errorf("fold %s: %w", at, err)
		}
		all[at] = p
	}
	out := map[string]string{}
	for _, at := range slices.Sorted(maps.Keys(all)) {
		p := all[at]
		for name, f := range p.files {
			if err := p.rewrite(f, target, targetName, all); err != nil {
				return nil, fmt.Errorf("fold %s/%s: %w", at, name, err)
			}
			text, err := f.woven()
			if err != nil {
				return nil, fmt.Errorf("fold %s/%s: %w", at, name, err)
			}
			out[p.name+"_"+name] = text
		}
	}
	return out, nil
}

func parseFolded(at string, files map[string][]byte) (*folded, error) {
	p := &folded{path: at, files: map[string]*foldedFile{}, names: map[string]bool{}, embeds: map[string]bool{}}
	for name, text := range files {
		f := &foldedFile{&source{text: string(text), fset: token.NewFileSet()}, map[*ast.Object]bool{}}
		var err error
		if f.file, err = parser.ParseFile(f.fset, name, text, parser.ParseComments); err != nil {
			return nil, err
		}
		p.name = f.file.Name.Name
		for name, obj := range f.file.Scope.Objects {
			f.own[obj] = true
			p.names[name] = true
		}
		p.files[name] = f
	}
	for _, f := range p.files {
		ast.Inspect(f.file, func(n ast.Node) bool {
			if st, ok := n.(*ast.StructType); ok {
				for _, fl := range st.Fields.List {
					if len(fl.Names) > 0 {
						continue
					}
					t := fl.Type
					if star, ok := t.(*ast.StarExpr); ok {
						t = star.X
					}
					if id, ok := t.(*ast.Ident); ok && p.names[id.Name] {
						p.embeds[id.Name] = true
					}
				}
			}
			return true
		})
	}
	return p, nil
}

// rewrite notes the edits that make f a file of the target.
func (p *folded) rewrite(f *foldedFile, target, targetName string, all map[string]*folded) error {
	f.replace(f.offset(f.file.Name.Pos()), f.offset(f.file.Name.End()), targetName)
	gone := map[string]*folded{} // local names of imports that are merged; nil: the target
	for _, imp := range f.file.Imports {
		at, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return err
		}
		of, merged := all[at]
		if at != target && !merged {
			continue
		}
		local := targetName
		if merged {
			local = of.name
		}
		from := f.offset(imp.Pos())
		if imp.Name != nil {
			local = imp.Name.Name
		}
		if local == "." || local == "_" {
			return fmt.Errorf("import %q as %s: give it a name", at, local)
		}
		gone[local] = of
		// An import of nothing keeps its line, and stands where one may.
		f.replace(from, f.offset(imp.End()), `_ "unsafe"`)
	}
	unresolved := map[*ast.Ident]bool{}
	for _, id := range f.file.Unresolved {
		unresolved[id] = true
	}
	rename := func(id *ast.Ident) {
		f.replace(f.offset(id.Pos()), f.offset(id.End()), foldName(p.name, id.Name))
	}
	fields := map[*ast.Ident]bool{} // keys of literals: of structs, as far as can be seen
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			switch n.Type.(type) {
			case *ast.MapType, *ast.ArrayType:
				return true
			}
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					if id, ok := kv.Key.(*ast.Ident); ok {
						fields[id] = true
					}
				}
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && unresolved[x] {
				if of, ok := gone[x.Name]; ok {
					name := n.Sel.Name
					if of != nil {
						name = foldName(of.name, name)
					}
					f.replace(f.offset(n.Pos()), f.offset(n.End()), name)
					return false
				}
			}
			if p.embeds[n.Sel.Name] {
				rename(n.Sel)
			}
		case *ast.Ident:
			switch {
			case fields[n]:
				if p.embeds[n.Name] {
					rename(n)
				}
			case n.Obj != nil && f.own[n.Obj], unresolved[n] && p.names[n.Name]:
				if n.Name != "_" && n.Name != "init" {
					rename(n)
				}
			}
		}
		return true
	})
	return nil
}
