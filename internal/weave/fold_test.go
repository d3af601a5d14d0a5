package weave

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// An archive has packages as folders: lib is what bindings are folded into, of
// package name lib, those that begin with sdk are the bindings, others what they import.
// What is in want is the whole of what comes out.
var folds = map[string]string{
	"a binding alone": `
-- lib/lib.go --
package lib

type Server struct{}
type Option func(*Server)
type Handler interface{ Serve() error }

func Chain(h Handler) Option { return func(*Server) {} }
-- core/core.go --
package core

type Span struct{ Name string }
-- sdklib/sdklib.go --
// Package sdklib is about lib.
package sdklib

import (
	"core"
	"lib"
)

// Options instruments.
func Options(opts ...lib.Option) []lib.Option {
	return append([]lib.Option{lib.Chain(&handler{span: core.Span{Name: name}})}, opts...)
}

const name = "sdklib"

type handler struct{ span core.Span }

func (h *handler) Serve() error { return nil }

var _ lib.Handler = (*handler)(nil)

func init() { _ = name }
-- want/sdklib_sdklib.go --
// Package sdklib is about lib.
package lib

import (
	"core"
	_ "unsafe"
)

// Options instruments.
func guanlanSdklibOptions(opts ...Option) []Option {
	return append([]Option{Chain(&guanlanSdklib_handler{span: core.Span{Name: guanlanSdklib_name}})}, opts...)
}

const guanlanSdklib_name = "sdklib"

type guanlanSdklib_handler struct{ span core.Span }

func (h *guanlanSdklib_handler) Serve() error { return nil }

var _ Handler = (*guanlanSdklib_handler)(nil)

func init() { _ = guanlanSdklib_name }
`,
	"embedded types": `
-- lib/lib.go --
package lib

type Stream interface{ Send() }
-- core/core.go --
package core

type Op[K any] struct{ K K }

type state struct{}

func (o *Op[K]) Span() *state { return nil }
-- sdklib/a.go --
package sdklib

import (
	"core"
	l "lib"
)

type inner struct{ n int }

type Outer struct {
	inner
	*base
	l.Stream
	core.Op[int]
}

type box[K any] struct{ of K }

type boxes struct{ box[int] }

func (o *Outer) use(s l.Stream) int {
	o.inner.n, o.base.n = 1, o.n
	o = &Outer{inner: inner{n: 1}, base: &base{inner: inner{2}}, Stream: s, Op: core.Op[int]{K: 1}}
	b := boxes{box: box[int]{of: 1}}
	_ = core.Op[string]{}
	return o.inner.n + o.Op.K + b.box.of + shared.inner.n
}
-- sdklib/b.go --
package sdklib

type base struct{ inner }

var shared = Outer{}
-- want/sdklib_a.go --
package lib

import (
	"core"
	_ "unsafe"
)

type guanlanSdklib_inner struct{ n int }

type guanlanSdklibOuter struct {
	guanlanSdklib_inner
	*guanlanSdklib_base
	Stream
	core.Op[int]
}

type guanlanSdklib_box[K any] struct{ of K }

type guanlanSdklib_boxes struct{ guanlanSdklib_box[int] }

func (o *guanlanSdklibOuter) use(s Stream) int {
	o.guanlanSdklib_inner.n, o.guanlanSdklib_base.n = 1, o.n
	o = &guanlanSdklibOuter{guanlanSdklib_inner: guanlanSdklib_inner{n: 1}, guanlanSdklib_base: &guanlanSdklib_base{guanlanSdklib_inner: guanlanSdklib_inner{2}}, Stream: s, Op: core.Op[int]{K: 1}}
	b := guanlanSdklib_boxes{guanlanSdklib_box: guanlanSdklib_box[int]{of: 1}}
	_ = core.Op[string]{}
	return o.guanlanSdklib_inner.n + o.Op.K + b.guanlanSdklib_box.of + guanlanSdklib_shared.guanlanSdklib_inner.n
}
-- want/sdklib_b.go --
package lib

type guanlanSdklib_base struct{ guanlanSdklib_inner }

var guanlanSdklib_shared = guanlanSdklibOuter{}
`,
	"literals": `
-- lib/lib.go --
package lib

type Code int

const OK Code = 0

type Header struct{ Name string }
-- sdklib/a.go --
package sdklib

import "lib"

type point struct{ X, name int }
type table map[lib.Code]string
type names [2]string

var name, X = 1, 2

var (
	_ = point{X: X, name: name}
	_ = []point{{X: X}, {name: name}}
	_ = []*point{first: {X: X}}
	_ = map[point]*point{{X: X}: {name: name}}
	_ = map[int]string{first: "", name: ""}
	_ = table{lib.OK: "", code: ""}
	_ = names{first: ""}
	_ = map[string]map[int]point{"": {first: {X: first}}}
	_ = [2]int{first: name}
	_ = lib.Header{Name: Name}
	_ = struct{ name int }{name: name}
)

func local() {
	type table map[int]point
	first := 1
	_ = table{first: {X: first}}
	_ = map[int]int{first: name}
}
-- sdklib/b.go --
package sdklib

import "lib"

const (
	first          = 1
	code  lib.Code = 2
	Name           = ""
)
-- want/sdklib_a.go --
package lib

import _ "unsafe"

type guanlanSdklib_point struct{ X, name int }
type guanlanSdklib_table map[Code]string
type guanlanSdklib_names [2]string

var guanlanSdklib_name, guanlanSdklibX = 1, 2

var (
	_ = guanlanSdklib_point{X: guanlanSdklibX, name: guanlanSdklib_name}
	_ = []guanlanSdklib_point{{X: guanlanSdklibX}, {name: guanlanSdklib_name}}
	_ = []*guanlanSdklib_point{guanlanSdklib_first: {X: guanlanSdklibX}}
	_ = map[guanlanSdklib_point]*guanlanSdklib_point{{X: guanlanSdklibX}: {name: guanlanSdklib_name}}
	_ = map[int]string{guanlanSdklib_first: "", guanlanSdklib_name: ""}
	_ = guanlanSdklib_table{OK: "", guanlanSdklib_code: ""}
	_ = guanlanSdklib_names{guanlanSdklib_first: ""}
	_ = map[string]map[int]guanlanSdklib_point{"": {guanlanSdklib_first: {X: guanlanSdklib_first}}}
	_ = [2]int{guanlanSdklib_first: guanlanSdklib_name}
	_ = Header{Name: guanlanSdklibName}
	_ = struct{ name int }{name: guanlanSdklib_name}
)

func guanlanSdklib_local() {
	type table map[int]guanlanSdklib_point
	first := 1
	_ = table{first: {X: first}}
	_ = map[int]int{first: guanlanSdklib_name}
}
-- want/sdklib_b.go --
package lib

import _ "unsafe"

const (
	guanlanSdklib_first          = 1
	guanlanSdklib_code  Code = 2
	guanlanSdklibName           = ""
)
`,
	"shadowed names": `
-- lib/lib.go --
package lib

type Client struct{ Peer int }

func Dial(target string) *Client { return nil }
-- sdklib/a.go --
package sdklib

import "lib"

type call struct{ lib *lib.Client }

func (c call) begin(begin int) int {
	call := c
	for range 2 {
		lib := lib.Dial("")
		call.lib = lib
		begin += lib.Peer
	}
begin:
	for {
		break begin
	}
	return begin + call.lib.Peer
}

func begin(call call, c *lib.Client) func() int {
	_ = call.begin
	if call := 1; call > 0 {
		goto call
	}
call:
	return func() int { begin := c.Peer; return begin + limit }
}

func (c call) String() string { return "begin" }
-- sdklib/b.go --
package sdklib

const limit = 1

func twice(limit int) int { return limit * 2 }
-- want/sdklib_a.go --
package lib

import _ "unsafe"

type guanlanSdklib_call struct{ lib *Client }

func (c guanlanSdklib_call) begin(begin int) int {
	call := c
	for range 2 {
		lib := Dial("")
		call.lib = lib
		begin += lib.Peer
	}
begin:
	for {
		break begin
	}
	return begin + call.lib.Peer
}

func guanlanSdklib_begin(call guanlanSdklib_call, c *Client) func() int {
	_ = call.begin
	if call := 1; call > 0 {
		goto call
	}
call:
	return func() int { begin := c.Peer; return begin + guanlanSdklib_limit }
}

func (c guanlanSdklib_call) String() string { return "begin" }
-- want/sdklib_b.go --
package lib

const guanlanSdklib_limit = 1

func guanlanSdklib_twice(limit int) int { return limit * 2 }
`,
	"two packages": `
-- lib/lib.go --
package lib

type Error struct{ Text string }
-- other/other.go --
package other

func Plain() {}
-- sdklib/a.go --
package sdklib

import (
	"lib"
	"other"
	"sdk/internal/message"
	words "sdkwords"
)

type entry struct {
	message.Part
	message string
}

func describe(e *lib.Error) string {
	other.Plain()
	in := entry{Part: message.Part{Text: e.Text}, message: message.Plain(e.Text)}
	message := words.First(in.message)
	return message + in.Part.Text + string(words.None)
}
-- sdkwords/words.go --
package words

type Word string

const None Word = ""

func First(s string) string { return plain(s) }

func plain(s string) string { return s }
-- sdk/internal/message/message.go --
package message

import w "sdkwords"

type Part struct{ Text string }

func Plain(s string) string { return plain(w.First(s)) }

func plain(s string) string { return s }
-- want/sdklib_a.go --
package lib

import (
	_ "unsafe"
	"other"
	_ "unsafe"
	_ "unsafe"
)

type guanlanSdklib_entry struct {
	guanlanMessagePart
	message string
}

func guanlanSdklib_describe(e *Error) string {
	other.Plain()
	in := guanlanSdklib_entry{guanlanMessagePart: guanlanMessagePart{Text: e.Text}, message: guanlanMessagePlain(e.Text)}
	message := guanlanWordsFirst(in.message)
	return message + in.guanlanMessagePart.Text + string(guanlanWordsNone)
}
-- want/words_words.go --
package lib

type guanlanWordsWord string

const guanlanWordsNone guanlanWordsWord = ""

func guanlanWordsFirst(s string) string { return guanlanWords_plain(s) }

func guanlanWords_plain(s string) string { return s }
-- want/message_message.go --
package lib

import _ "unsafe"

type guanlanMessagePart struct{ Text string }

func guanlanMessagePlain(s string) string { return guanlanMessage_plain(guanlanWordsFirst(s)) }

func guanlanMessage_plain(s string) string { return s }
`,
	"generics": `
-- lib/lib.go --
package lib

type Pool[T any] struct{ All []T }

func New[T any](all ...T) *Pool[T] { return &Pool[T]{All: all} }
-- core/core.go --
package core

type Ops[K comparable] struct{ f func(K) []string }

func NewOps[K comparable](f func(K) []string) *Ops[K] { return &Ops[K]{f} }
-- sdklib/a.go --
package sdklib

import (
	"core"
	"lib"
)

type key struct{ n int }

func (k key) attrs() []string { return nil }

var ops = core.NewOps(key.attrs)

type list[T number, P *T] struct {
	pool *lib.Pool[T]
	next *list[T, P]
}

type number interface{ ~int | ~[]text }
type text string

func (l *list[T, P]) add(key T) *list[T, P] {
	return &list[T, P]{pool: lib.New(key), next: l}
}

func observe[ops any](owner *ops, stats func(*ops) *list[int, *int]) {
	_ = stats(owner).add(1).pool.All
	_ = lib.New[key](key{n: 1})
}
-- want/sdklib_a.go --
package lib

import (
	"core"
	_ "unsafe"
)

type guanlanSdklib_key struct{ n int }

func (k guanlanSdklib_key) attrs() []string { return nil }

var guanlanSdklib_ops = core.NewOps(guanlanSdklib_key.attrs)

type guanlanSdklib_list[T guanlanSdklib_number, P *T] struct {
	pool *Pool[T]
	next *guanlanSdklib_list[T, P]
}

type guanlanSdklib_number interface{ ~int | ~[]guanlanSdklib_text }
type guanlanSdklib_text string

func (l *guanlanSdklib_list[T, P]) add(key T) *guanlanSdklib_list[T, P] {
	return &guanlanSdklib_list[T, P]{pool: New(key), next: l}
}

func guanlanSdklib_observe[ops any](owner *ops, stats func(*ops) *guanlanSdklib_list[int, *int]) {
	_ = stats(owner).add(1).pool.All
	_ = New[guanlanSdklib_key](guanlanSdklib_key{n: 1})
}
`,
}

// sources are the packages of an archive by the folder they are in.
func sources(archive string) map[string]map[string][]byte {
	all := map[string]map[string][]byte{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		dir := path.Dir(f.Name)
		if all[dir] == nil {
			all[dir] = map[string][]byte{}
		}
		all[dir][path.Base(f.Name)] = f.Data
	}
	return all
}

func foldInto(t *testing.T, all map[string]map[string][]byte) (map[string]string, error) {
	t.Helper()
	bindings := map[string]map[string][]byte{}
	for dir, files := range all {
		if strings.HasPrefix(dir, "sdk") {
			bindings[dir] = files
		}
	}
	return fold("lib", "lib", bindings)
}

// checker type-checks the packages of an archive as they are imported.
type checker struct {
	sources map[string]map[string][]byte
	done    map[string]*types.Package
}

func (c *checker) Import(path string) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	if p := c.done[path]; p != nil {
		return p, nil
	}
	if c.sources[path] == nil {
		return nil, fmt.Errorf("there is no package %s", path)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range slices.Sorted(maps.Keys(c.sources[path])) {
		f, err := parser.ParseFile(fset, filepath.Join(path, name), c.sources[path][name], 0)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	p, err := (&types.Config{Importer: c}).Check(path, fset, files, nil)
	c.done[path] = p
	return p, err
}

func TestFold(t *testing.T) {
	for name, archive := range folds {
		t.Run(name, func(t *testing.T) {
			all := sources(archive)
			for dir := range all {
				if dir != "want" {
					if _, err := (&checker{all, map[string]*types.Package{}}).Import(dir); err != nil {
						t.Fatalf("the test itself: %v", err)
					}
				}
			}
			got, err := foldInto(t, all)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for name, text := range all["want"] {
				want[name] = string(text)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for name, text := range got {
				all["lib"][name] = []byte(text)
			}
			if _, err := (&checker{all, map[string]*types.Package{}}).Import("lib"); err != nil {
				t.Errorf("the target with what is folded into it: %v", err)
			}
		})
	}
}

func TestFoldRefuses(t *testing.T) {
	for want, binding := range map[string]string{
		`fold sdklib: a.go: line 4: inner is embedded elsewhere: give the field there a name`: "package sdklib\ntype inner struct{}\ntype outer struct{ inner }\ntype other struct{ inner int }\n",
		`fold sdklib: a.go: line 4: run is embedded elsewhere: give the field there a name`:   "package sdklib\ntype run func()\ntype outer struct{ run }\nfunc (o *other) run() {}\ntype other int\n",
		`fold sdklib: a.go: line 3: T is declared here, and could hide that of lib at line 3`: "package sdklib\nimport \"lib\"\nfunc f[T any](t lib.T) {}\n",
		`fold sdklib: a.go: import "lib" as .: give it a name`:                                "package sdklib\nimport . \"lib\"\n",
		`fold sdklib: a.go: "//go:linkname now runtime.nano" names what is not there any`:     "package sdklib\nimport _ \"unsafe\"\n//go:linkname now runtime.nanotime\nfunc now() int64\n",
		`fold sdklib: a.go:1:13: expected ';'`:                                                "package lib now\n",
	} {
		_, err := foldInto(t, map[string]map[string][]byte{"sdklib": {"a.go": []byte(binding)}})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	_, err := foldInto(t, map[string]map[string][]byte{"sdk/a": {"a.go": []byte("package a")}, "sdk/b": {"a.go": []byte("package a")}})
	if err == nil || err.Error() != "fold sdk/b: sdk/a is called a, too" {
		t.Errorf("two packages of one name: %v", err)
	}
}
