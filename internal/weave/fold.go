package weave

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A binding of ours, as sdk/grpc, is written against the library from outside.
// Woven, it becomes part of the library's own package: a package more would have
// to be imported by the one it imports, and a vendor folder has no room for it.
// So a binding is written once.
//
// Names are resolved by their scopes alone, without types: what the imports of a
// binding declare is not known here. The few places where that does not do, as
// a field that is embedded under a name that others have, are refused.

// folded is a package that becomes part of another.
type folded struct {
	path  string // import path
	name  string
	files map[string]*foldedFile
	names map[string]ast.Expr // declared at its top, and the type it stands for; nil: no type
	// fields are the names that an embedded type of a folded package gives its
	// field, and what they become.
	fields map[string]string
}

type foldedFile struct {
	*source
	own        map[any]bool        // the objects of its top scope: of scopes, one file is all that is asked
	unresolved map[*ast.Ident]bool // names that the file does not declare
	gone       map[string]*folded  // local names of imports that are merged; nil: the target
	stays      map[string]bool     // local names of the other imports
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
	at := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		p, err := parseFolded(path, packages[path])
		if err != nil {
			return nil, fmt.Errorf("fold %s: %w", path, err)
		}
		if other, twice := at[p.name]; twice {
			return nil, fmt.Errorf("fold %s: %s is called %s, too", path, other, p.name)
		}
		all[path], at[p.name] = p, path
	}
	out := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		p := all[path]
		err := p.eachFile(func(f *foldedFile) error { return f.findImports(target, targetName, all) })
		if err == nil {
			err = p.findFields()
		}
		if err == nil {
			err = p.eachFile(func(f *foldedFile) error { return p.rewrite(f, targetName) })
		}
		if err != nil {
			return nil, fmt.Errorf("fold %s: %w", path, err)
		}
		for name, f := range p.files {
			if out[p.name+"_"+name], err = f.woven(); err != nil {
				return nil, fmt.Errorf("fold %s: %s: %w", path, name, err)
			}
		}
	}
	return out, nil
}

func parseFolded(path string, files map[string][]byte) (*folded, error) {
	p := &folded{path: path, files: map[string]*foldedFile{}, names: map[string]ast.Expr{}, fields: map[string]string{}}
	for name, text := range files {
		f := &foldedFile{
			source: &source{text: string(text), fset: token.NewFileSet()},
			own:    map[any]bool{}, unresolved: map[*ast.Ident]bool{}, gone: map[string]*folded{}, stays: map[string]bool{},
		}
		var err error
		if f.file, err = parser.ParseFile(f.fset, name, text, parser.ParseComments); err != nil {
			return nil, err
		}
		p.name = f.file.Name.Name
		for name, obj := range f.file.Scope.Objects {
			f.own[obj] = true
			p.names[name] = nil
			if t, ok := obj.Decl.(*ast.TypeSpec); ok {
				p.names[name] = t.Type
			}
		}
		for _, id := range f.file.Unresolved {
			f.unresolved[id] = true
		}
		for _, c := range f.file.Comments {
			for _, line := range c.List {
				if strings.HasPrefix(line.Text, "//go:linkname ") || strings.HasPrefix(line.Text, "//go:embed ") {
					return nil, fmt.Errorf("%s: %.30q names what is not there any more", name, line.Text)
				}
			}
		}
		p.files[name] = f
	}
	return p, nil
}

// eachFile calls f with the files, by name, until it fails.
func (p *folded) eachFile(f func(*foldedFile) error) error {
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		if err := f(p.files[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// findImports drops the imports of the target and of the packages that are
// merged into it.
func (f *foldedFile) findImports(target, targetName string, all map[string]*folded) error {
	for _, imp := range f.file.Imports {
		path, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return err
		}
		local := path[strings.LastIndexByte(path, '/')+1:]
		of, merged := all[path]
		switch {
		case merged:
			local = of.name
		case path == target:
			local = targetName
		}
		if imp.Name != nil {
			local = imp.Name.Name
		}
		if path != target && !merged {
			f.stays[local] = true
			continue
		}
		if local == "." || local == "_" {
			return fmt.Errorf("import %q as %s: give it a name", path, local)
		}
		f.gone[local] = of
		// An import of nothing keeps its line, and stands where one may.
		f.replace(f.offset(imp.Pos()), f.offset(imp.End()), `_ "unsafe"`)
	}
	return nil
}

// findFields finds the fields that change their names with the types that they
// embed. No other field or method may be called so: a selector does not tell
// which is meant.
func (p *folded) findFields() error {
	err := p.eachFile(func(f *foldedFile) error {
		ast.Inspect(f.file, func(n ast.Node) bool {
			if st, ok := n.(*ast.StructType); ok {
				for _, field := range st.Fields.List {
					if len(field.Names) == 0 {
						if name, becomes := p.embedded(f, field.Type); becomes != "" {
							p.fields[name] = becomes
						}
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		return err
	}
	return p.eachFile(func(f *foldedFile) (err error) {
		refuse := func(id *ast.Ident) {
			if p.fields[id.Name] != "" {
				err = fmt.Errorf("line %d: %s is embedded elsewhere: give the field there a name", f.line(id.Pos()), id.Name)
			}
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.StructType:
				for _, field := range n.Fields.List {
					for _, id := range field.Names {
						refuse(id)
					}
				}
			case *ast.InterfaceType:
				for _, m := range n.Methods.List {
					for _, id := range m.Names {
						refuse(id)
					}
				}
			case *ast.FuncDecl:
				if n.Recv != nil {
					refuse(n.Name)
				}
			}
			return true
		})
		return err
	})
}

// embedded is the name of the field that embeds a type, and what the name
// becomes; "" when it stays.
func (p *folded) embedded(f *foldedFile, t ast.Expr) (name, becomes string) {
	switch of := t.(type) {
	case *ast.StarExpr:
		return p.embedded(f, of.X)
	case *ast.ParenExpr:
		return p.embedded(f, of.X)
	case *ast.IndexExpr:
		return p.embedded(f, of.X)
	case *ast.IndexListExpr:
		return p.embedded(f, of.X)
	case *ast.Ident:
		if p.declares(f, of) {
			return of.Name, foldName(p.name, of.Name)
		}
	case *ast.SelectorExpr:
		if x, ok := of.X.(*ast.Ident); ok && f.unresolved[x] && f.gone[x.Name] != nil {
			return of.Sel.Name, foldName(f.gone[x.Name].name, of.Sel.Name)
		}
	}
	return "", ""
}

// declares reports whether a name is one that the package declares at its top.
func (p *folded) declares(f *foldedFile, id *ast.Ident) bool {
	if id.Obj != nil {
		return f.own[id.Obj]
	}
	_, ok := p.names[id.Name]
	return ok && f.unresolved[id]
}

// rewrite notes the edits that make f a file of the target.
func (p *folded) rewrite(f *foldedFile, targetName string) error {
	f.replace(f.offset(f.file.Name.Pos()), f.offset(f.file.Name.End()), targetName)
	rename := func(id *ast.Ident, to string) { f.replace(f.offset(id.Pos()), f.offset(id.End()), to) }
	keys := p.keys(f)
	locals := map[string]int{}       // that are declared within functions, and a line of each
	members := map[*ast.Ident]bool{} // of structs and interfaces, which hide nothing
	var dropped []*ast.SelectorExpr
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			note(members, n.Fields)
		case *ast.InterfaceType:
			note(members, n.Methods)
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || !f.unresolved[x] {
				if to := p.fields[n.Sel.Name]; to != "" {
					rename(n.Sel, to)
				}
				break
			}
			of, gone := f.gone[x.Name]
			switch {
			case gone && of != nil:
				f.replace(f.offset(n.Pos()), f.offset(n.End()), foldName(of.name, n.Sel.Name))
				return false
			case gone:
				f.replace(f.offset(n.Pos()), f.offset(n.End()), n.Sel.Name)
				dropped = append(dropped, n)
				return false
			case f.stays[x.Name]:
				return false
			}
			if to := p.fields[n.Sel.Name]; to != "" { // of a variable of another file
				rename(n.Sel, to)
			}
		case *ast.Ident:
			switch keys[n] {
			case fieldKey:
				if to := p.fields[n.Name]; to != "" {
					rename(n, to)
				}
				return true
			case valueKey: // those are not among the unresolved
				if _, ok := p.names[n.Name]; ok && n.Obj == nil {
					rename(n, foldName(p.name, n.Name))
					return true
				}
			}
			if p.declares(f, n) && n.Name != "_" && n.Name != "init" {
				rename(n, foldName(p.name, n.Name))
			} else if n.Obj != nil && !f.own[n.Obj] && n.Obj.Kind != ast.Lbl && !members[n] {
				locals[n.Name] = f.line(n.Pos())
			}
		}
		return true
	})
	for _, s := range dropped {
		if line, ok := locals[s.Sel.Name]; ok {
			return fmt.Errorf("line %d: %s is declared here, and could hide that of %s at line %d: give it another name", line, s.Sel.Name, targetName, f.line(s.Pos()))
		}
	}
	return nil
}

func note(members map[*ast.Ident]bool, list *ast.FieldList) {
	for _, field := range list.List {
		for _, id := range field.Names {
			members[id] = true
		}
	}
}

// What stands before the colon in a literal.
const (
	fieldKey = iota + 1 // the field of a struct
	valueKey            // a value
)

// keys tells the keys of the literals of a file apart.
func (p *folded) keys(f *foldedFile) map[*ast.Ident]int {
	keys := map[*ast.Ident]int{}
	var literal func(lit *ast.CompositeLit, t ast.Expr)
	literal = func(lit *ast.CompositeLit, t ast.Expr) {
		if lit.Type != nil {
			t = lit.Type
		}
		kind, keyType, valueType := fieldKey, ast.Expr(nil), ast.Expr(nil)
		switch of := p.underlying(f, t).(type) {
		case *ast.MapType:
			kind, keyType, valueType = valueKey, of.Key, of.Value
		case *ast.ArrayType:
			kind, valueType = valueKey, of.Elt
		}
		within := func(e ast.Expr, t ast.Expr) {
			if star, ok := t.(*ast.StarExpr); ok { // []*T{{}} leaves the & out, too
				t = star.X
			}
			if inner, ok := e.(*ast.CompositeLit); ok && inner.Type == nil {
				literal(inner, t)
			}
		}
		for _, e := range lit.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				within(e, valueType)
				continue
			}
			if id, ok := kv.Key.(*ast.Ident); ok {
				keys[id] = kind
			}
			within(kv.Key, keyType)
			within(kv.Value, valueType)
		}
	}
	ast.Inspect(f.file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.CompositeLit); ok && lit.Type != nil {
			literal(lit, nil)
		}
		return true
	})
	return keys
}

// underlying follows the names of types as far as the package declares them. Of
// types from elsewhere the name is all that is known: a literal with keys is that
// of a struct then.
func (p *folded) underlying(f *foldedFile, t ast.Expr) ast.Expr {
	for range 10 { // and no further, in case of a circle
		switch of := t.(type) {
		case *ast.ParenExpr:
			t = of.X
		case *ast.IndexExpr:
			t = of.X
		case *ast.IndexListExpr:
			t = of.X
		case *ast.Ident:
			if spec, ok := localType(of); ok && !f.own[of.Obj] {
				t = spec
			} else if is := p.names[of.Name]; is != nil && p.declares(f, of) {
				t = is
			} else {
				return t
			}
		default:
			return t
		}
	}
	return t
}

// localType is what a type stands for that a function declares.
func localType(id *ast.Ident) (ast.Expr, bool) {
	if id.Obj == nil {
		return nil, false
	}
	spec, ok := id.Obj.Decl.(*ast.TypeSpec)
	if !ok {
		return nil, false
	}
	return spec.Type, true
}
