package weave

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// edit replaces src[from:to] by text. No text contains a newline.
type edit struct {
	from, to int
	text     string
}

// hit is a place where a point matched.
type hit struct {
	point int // index
	line  int
	name  string // of the function or type
}

// source is one file that is being woven.
type source struct {
	text  string
	fset  *token.FileSet
	file  *ast.File
	edits []edit
	hits  []hit
}

func parseSource(text string) (*source, error) {
	s := &source{text: text, fset: token.NewFileSet()}
	var err error
	s.file, err = parser.ParseFile(s.fset, "", text, parser.SkipObjectResolution)
	return s, err
}

func (s *source) offset(p token.Pos) int { return s.fset.PositionFor(p, false).Offset }
func (s *source) line(p token.Pos) int   { return s.fset.PositionFor(p, false).Line }
func (s *source) of(n ast.Node) string   { return s.text[s.offset(n.Pos()):s.offset(n.End())] }

func (s *source) put(at int, text string) { s.replace(at, at, text) }

// replace notes an edit. The same one twice is one: two points that name the
// same parameter.
func (s *source) replace(from, to int, text string) {
	e := edit{from, to, text}
	if !slices.Contains(s.edits, e) {
		s.edits = append(s.edits, e)
	}
}

// weave notes the edits of the points that match in this file.
func (s *source) weave(points []*JoinPoint, imports []Import) error {
	for i, p := range points {
		before := len(s.hits)
		for _, d := range s.file.Decls {
			var err error
			switch d := d.(type) {
			case *ast.FuncDecl:
				if p.Func != "" && d.Body != nil && funcName(d) == p.Func {
					err = s.weaveFunc(i, p, d)
				}
			case *ast.GenDecl:
				if p.Type != "" {
					s.weaveTypes(i, p, d)
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p.place(), err)
			}
		}
		if len(s.hits) == before {
			continue
		}
		for _, imp := range imports {
			if strings.Contains(p.Entry+p.Code, imp.Name+".") {
				s.put(s.offset(s.file.Name.End()), "; import "+imp.Name+" "+strconv.Quote(imp.Path))
			}
		}
	}
	return nil
}

func (s *source) weaveFunc(i int, p *JoinPoint, d *ast.FuncDecl) error {
	note := func(pos token.Pos) { s.hits = append(s.hits, hit{i, s.line(pos), p.Func}) }
	if p.Entry != "" {
		code, err := s.expand(p.Entry, d)
		if err != nil {
			return err
		}
		s.put(s.offset(d.Body.Lbrace)+1, " "+code+";")
		note(d.Body.Lbrace)
		return nil
	}
	want := spaceless(p.Before + p.After + p.Replace)
	var failed error
	ast.Inspect(d.Body, func(n ast.Node) bool {
		_, stmt := n.(ast.Stmt)
		_, expr := n.(ast.Expr)
		if !stmt && (!expr || p.Replace == "") || spaceless(s.of(n)) != want {
			return true
		}
		code, err := s.expand(p.Code, d)
		if err != nil {
			failed = err
			return false
		}
		if note(n.Pos()); p.After != "" {
			s.hits[len(s.hits)-1].line = s.line(n.End())
		}
		switch {
		case p.Before != "":
			s.put(s.offset(n.Pos()), code+"; ")
		case p.After != "":
			s.put(s.offset(n.End()), "; "+code)
		default:
			was := strings.ReplaceAll(s.of(n), "\n", " ")
			// What stood on several lines goes on doing so.
			s.replace(s.offset(n.Pos()), s.offset(n.End()), strings.ReplaceAll(code, "$&", was)+strings.Repeat("\n", strings.Count(s.of(n), "\n")))
		}
		return false
	})
	return failed
}

func (s *source) weaveTypes(i int, p *JoinPoint, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok || t.Name.Name != p.Type {
			continue
		}
		st, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		if p.Field == "" {
			s.put(s.offset(st.Fields.Opening)+1, " "+p.Code+";")
			s.hits = append(s.hits, hit{i, s.line(st.Fields.Opening), p.Type})
			continue
		}
		for _, f := range st.Fields.List {
			if slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return n.Name == p.Field }) {
				s.put(s.offset(f.End()), "; "+p.Code)
				s.hits = append(s.hits, hit{i, s.line(f.End()), p.Type})
			}
		}
	}
}

// woven is the text with all edits made.
func (s *source) woven() (string, error) {
	if len(s.edits) == 0 {
		return s.text, nil
	}
	slices.SortStableFunc(s.edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	last := 0
	for _, e := range s.edits {
		if e.from < last {
			return "", fmt.Errorf("two points replace the same at line %d", 1+strings.Count(s.text[:e.from], "\n"))
		}
		b.WriteString(s.text[last:e.from])
		b.WriteString(e.text)
		last = e.to
	}
	b.WriteString(s.text[last:])
	if _, err := parser.ParseFile(token.NewFileSet(), "", b.String(), parser.SkipObjectResolution); err != nil {
		return "", fmt.Errorf("what was inserted does not parse: %w", err)
	}
	return b.String(), nil
}

// expand puts names in for the $ of code. Parameters and results that have none
// get one.
func (s *source) expand(code string, d *ast.FuncDecl) (string, error) {
	for _, of := range []struct {
		list   *ast.FieldList
		prefix string
	}{{d.Recv, "$x"}, {d.Type.Results, "$r"}, {d.Type.Params, "$"}} {
		code = s.expandList(code, of.list, of.prefix)
	}
	if i := strings.IndexByte(strings.ReplaceAll(code, "$&", ""), '$'); i >= 0 {
		return "", fmt.Errorf("the signature has nothing for %q", code)
	}
	return code, nil
}

func (s *source) expandList(code string, list *ast.FieldList, prefix string) string {
	if list == nil {
		return code
	}
	name := func(i int) string { return prefix + strconv.Itoa(i) }
	if prefix == "$x" {
		name = func(int) string { return prefix }
	}
	own := func(i int) string { return "guanlan" + strings.ToUpper(prefix[1:]) + strconv.Itoa(i) }
	n := list.NumFields()
	var names []string
	for i := n - 1; i >= 0; i-- { // $1 is no part of $10
		if strings.Contains(code, name(i)) {
			break
		}
		if i == 0 {
			return code
		}
	}
	i := 0
	for _, f := range list.List {
		if len(f.Names) == 0 { // then none of the list has one
			text := own(i) + " "
			if !list.Opening.IsValid() { // a lone result
				text = "(" + text
				s.put(s.offset(f.Type.End()), ")")
			}
			s.put(s.offset(f.Type.Pos()), text)
			names = append(names, own(i))
			i++
		}
		for _, id := range f.Names {
			nm := id.Name
			if nm == "_" && strings.Contains(code, name(i)) {
				nm = own(i)
				s.replace(s.offset(id.Pos()), s.offset(id.End()), nm)
			}
			names = append(names, nm)
			i++
		}
	}
	for i := len(names) - 1; i >= 0; i-- {
		code = strings.ReplaceAll(code, name(i), names[i])
	}
	return code
}

// funcName is Func or Type.Method, without pointers and type parameters.
func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	t := d.Recv.List[0].Type
	for {
		switch of := t.(type) {
		case *ast.StarExpr:
			t = of.X
		case *ast.IndexExpr:
			t = of.X
		case *ast.IndexListExpr:
			t = of.X
		case *ast.ParenExpr:
			t = of.X
		case *ast.Ident:
			return of.Name + "." + d.Name.Name
		default:
			return ""
		}
	}
}

// spaceless is code without white space, to compare it by.
func spaceless(code string) string {
	return strings.Join(strings.Fields(code), "")
}
