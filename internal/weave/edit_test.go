package weave

import (
	"strings"
	"testing"
)

func TestWeave(t *testing.T) {
	const src = `package p // the first line

import "context"

type server[K any] struct {
	a, b int // two
	next *server[K]
}

type empty struct{}

func (s *server[K]) Serve(ctx context.Context, _ string) error {
	for range 3 {
		s.handle(
			ctx)
	}
	return s.handle(ctx)
}

func (server[K]) handle(context.Context) (err error) { return nil }

func pair(string, int) (int, error) { return f(1), nil }

func one() error { return nil }

func f(n int) int { return n }
`
	for _, tt := range []struct {
		name  string
		point JoinPoint
		want  string // a line of what comes out; "" when nothing matches
	}{
		{"entry", JoinPoint{Func: "f", Entry: "defer done($0)"}, `func f(n int) int { defer done(n); return n }`},
		{"receiver and blank parameter", JoinPoint{Func: "server.Serve", Entry: "$x.in($0, $1)"}, `func (s *server[K]) Serve(ctx context.Context, guanlan1 string) error { s.in(ctx, guanlan1);`},
		{"receiver and parameter without names", JoinPoint{Func: "server.handle", Entry: "in($x, $0); defer out($r0)"}, `func (guanlanX0 server[K]) handle(guanlan0 context.Context) (err error) { in(guanlanX0, guanlan0); defer out(err); return nil }`},
		{"results without names", JoinPoint{Func: "pair", Entry: "defer out(&$r1, $0)"}, `func pair(guanlan0 string, guanlan1 int) (guanlanR0 int, guanlanR1 error) { defer out(&guanlanR1, guanlan0); return f(1), nil }`},
		{"a lone result", JoinPoint{Func: "one", Entry: "defer out(&$r0)"}, `func one() (guanlanR0 error) { defer out(&guanlanR0); return nil }`},
		{"before", JoinPoint{Func: "server.Serve", Before: "return s.handle( ctx )", Code: "in($0)"}, `	in(ctx); return s.handle(ctx)`},
		{"after a statement on two lines", JoinPoint{Func: "server.Serve", After: "s.handle(ctx)", Code: "out()"}, `			ctx); out()`},
		{"replace an expression", JoinPoint{Func: "pair", Replace: "f(1)", Code: "g($&)"}, `func pair(string, int) (int, error) { return g(f(1)), nil }`},
		{"replace a statement on two lines", JoinPoint{Func: "server.Serve", Replace: "s.handle(ctx)", Code: "x($0)"}, `		x(ctx)`},
		{"first field", JoinPoint{Type: "server", Code: "guanlan any"}, `type server[K any] struct { guanlan any;`},
		{"behind a field", JoinPoint{Type: "server", Field: "b", Code: "guanlan any"}, `	a, b int; guanlan any // two`},
		{"a struct without fields", JoinPoint{Type: "empty", Code: "guanlan any"}, `type empty struct{ guanlan any;}`},
		{"a function that is not there", JoinPoint{Func: "server.Close", Entry: "x()"}, ""},
		{"a statement that is not there", JoinPoint{Func: "f", After: "return m", Code: "x()"}, ""},
		{"a field that is not there", JoinPoint{Type: "server", Field: "c", Code: "x int"}, ""},
		{"the text of a statement within an expression", JoinPoint{Func: "pair", Before: "f(1)", Code: "x()"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.point.check(); err != nil {
				t.Fatal(err)
			}
			s, err := parseSource(src)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.weave([]*JoinPoint{&tt.point}, []Import{{"guanlansdk", "guanlan/sdk"}}); err != nil {
				t.Fatal(err)
			}
			got, err := s.woven()
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if got != src || len(s.hits) != 0 {
					t.Errorf("woven, but nothing matches:\n%s", got)
				}
				return
			}
			if !strings.Contains(got, tt.want+"\n") {
				t.Errorf("no line %q in\n%s", tt.want, got)
			}
			if a, b := strings.Count(src, "\n"), strings.Count(got, "\n"); a != b {
				t.Errorf("%d lines became %d", a, b)
			}
			if len(s.hits) == 0 {
				t.Error("no hit told")
			}
		})
	}
}

func TestWeaveImports(t *testing.T) {
	s, err := parseSource("package p // no import yet\n\nfunc f() {}\n")
	if err != nil {
		t.Fatal(err)
	}
	imports := []Import{{"guanlansdk", "guanlan/sdk"}, {"other", "guanlan/other"}}
	points := []*JoinPoint{{Func: "f", Entry: "guanlansdk.Do()"}, {Func: "f", Entry: "defer guanlansdk.Done()"}}
	if err := s.weave(points, imports); err != nil {
		t.Fatal(err)
	}
	got, err := s.woven()
	if err != nil {
		t.Fatal(err)
	}
	want := "package p; import guanlansdk \"guanlan/sdk\" // no import yet\n\nfunc f() { guanlansdk.Do(); defer guanlansdk.Done();}\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What cannot be woven must be told, not written.
func TestWeaveRefuses(t *testing.T) {
	const src = "package p\n\nfunc f(n int) int {\n\tif n := g(); n > 0 {\n\t\treturn n\n\t}\n\treturn 0\n}\n"
	for _, tt := range []struct {
		name   string
		points []*JoinPoint
		want   string
	}{
		{"a parameter that is not there", []*JoinPoint{{Func: "f", Entry: "x($3)"}}, `nothing for "x($3)"`},
		{"a result that is not there", []*JoinPoint{{Func: "f", Entry: "x($r1)"}}, `nothing for "x($r1)"`},
		{"no receiver", []*JoinPoint{{Func: "f", Entry: "x($x)"}}, `nothing for "x($x)"`},
		{"where no statement may stand", []*JoinPoint{{Func: "f", Before: "n := g()", Code: "for {}"}}, "does not parse"},
		{"two replace the same", []*JoinPoint{{Func: "f", Replace: "return 0", Code: "return 1"}, {Func: "f", Replace: "0", Code: "2"}}, "at line 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseSource(src)
			if err != nil {
				t.Fatal(err)
			}
			if err = s.weave(tt.points, nil); err == nil {
				_, err = s.woven()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
}

// Whatever the source, what comes out parses, has as many lines, and is the
// source where nothing was inserted.
func FuzzWeave(f *testing.F) {
	f.Add("package p\nfunc f(a, _ int, c ...string) (int, error) { return g(a), nil }\n", "return g(a), nil")
	f.Add("package p\ntype T struct{ a int }\nfunc (t *T) f() { select { case <-t.c: t.a++ } }\n", "t.a++")
	f.Add("package p\nfunc f() { if x := 1; x > 0 { } else if y { z() } }\n", "z()")
	f.Fuzz(func(t *testing.T, src, at string) {
		points := []*JoinPoint{
			{Func: "f", Entry: "_, _ = $0, $r0"}, {Func: "T.f", Entry: "_ = $x"},
			{Func: "f", Before: at, Code: "_ = 1"}, {Func: "T.f", After: at, Code: "_ = 2"},
			{Type: "T", Code: "guanlan any"}, {Type: "T", Field: "a", Code: "guanlan2 any"},
		}
		for _, p := range points {
			s, err := parseSource(src)
			if err != nil {
				return
			}
			if s.weave([]*JoinPoint{p}, nil) != nil {
				continue
			}
			got, err := s.woven()
			if err != nil {
				continue
			}
			if _, err := parseSource(got); err != nil {
				t.Errorf("%s: %v in\n%s", p.place(), err, got)
			}
			if strings.Count(got, "\n") != strings.Count(src, "\n") {
				t.Errorf("%s: lines moved in\n%s", p.place(), got)
			}
			if len(s.hits) == 0 && got != src {
				t.Errorf("%s: nothing matched, and yet\n%s", p.place(), got)
			}
		}
	})
}
