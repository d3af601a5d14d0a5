package label

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func newRoutes(t testing.TB, most int, patterns ...string) *Routes {
	t.Helper()
	r, err := NewRoutes(most, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoutes(t *testing.T) {
	r := newRoutes(t, 3, "GET /orders/{id}", "POST /orders/{id}/items", "/orders/new", "shop.example/static/", "/files/{path...}", "/{$}", "/a/{b}/c", "/{x}/z/d")
	f := func(path, want string) {
		t.Helper()
		if got := r.Of(path); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
	f("/orders/4711", "/orders/{id}")
	f("/orders/new", "/orders/new")
	f("/orders/new/items", "/orders/{id}/items")
	f("/static/", "/static/")
	f("/static/js/app.js", "/static/")
	f("/files/", "/files/{path...}")
	f("/files/a/b", "/files/{path...}")
	f("/", "/{$}")
	f("/a/z/c", "/a/{b}/c")
	f("/a/z/d", "/{x}/z/d") // the first way does not lead anywhere
	f("", "invalid")
	f("orders", "invalid")
	f("*", "invalid")
	f("/users/4711", "/users/{number}")
	f("/orders/4711/", "/orders/{number}/")
	f("/users/4712", "/users/{number}")
	f("/health", "/health")
	f("/one/too/many", "other")
	f("/"+strings.Repeat("x/", 200), "other")
	if r.Folded() != 2 {
		t.Errorf("%d folded, want 2", r.Folded())
	}
	for _, wrong := range []string{"", "GET", "/{a...}/b", "/{$}/b", "/a{b}", "/{}", "/{b}c"} {
		if _, err := NewRoutes(0, wrong); err == nil {
			t.Errorf("pattern %q: no error", wrong)
		}
	}
}

func TestTemplate(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := Template(path); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
	f("/", "/")
	f("", "/")
	f("/orders/4711/items", "/orders/{number}/items")
	f("/orders/4711?x=1", "/orders/{number}")
	f("/days/2026-11-20", "/days/{number}")
	f("/v2/users", "/v2/users")
	f("/api/v1.2/oauth2/s3", "/api/v1.2/oauth2/s3")
	f("/orders/ord-4711", "/orders/{id}")
	f("/x/123e4567-e89b-12d3-a456-426614174000", "/x/{uuid}")
	f("/x/123E4567-E89B-12D3-A456-426614174000/", "/x/{uuid}/")
	f("/commits/4bf92f35", "/commits/{hex}")
	f("/commits/deadbeefdeadbeefdeadbeefdeadbeefdeadbeef", "/commits/{hex}")
	f("/facade/decade", "/facade/decade")
	f("/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/u/{id}")
	f("/u/me@shop.example", "/u/{id}")
	f("/u/日本", "/u/{id}")
	f("/u/a b", "/u/{id}")
	f("/u/"+strings.Repeat("word", 9), "/u/{id}")
	f("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/{rest...}")
	f("/a//b/", "/a//b/")
}

// Of patterns that http.ServeMux takes, the same one must match.
func TestRoutesAreServeMuxs(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	word := func() string { return string(rune('a' + rng.IntN(3))) }
	compared := 0
	for range 400 {
		mux := http.NewServeMux()
		var patterns []string
		for range 1 + rng.IntN(8) {
			var p strings.Builder
			depth := rng.IntN(4)
			for i := range depth {
				if rng.IntN(3) == 0 {
					fmt.Fprintf(&p, "/{n%d}", i)
				} else {
					p.WriteString("/" + word())
				}
			}
			switch end := rng.IntN(5); {
			case end == 0:
				p.WriteString("/{$}")
			case end == 1:
				p.WriteString("/{rest...}")
			case end == 2 || depth == 0:
				p.WriteString("/")
			}
			if handles(mux, p.String()) {
				patterns = append(patterns, p.String())
			}
		}
		r := newRoutes(t, 1000, patterns...)
		for range 40 {
			path := ""
			for range rng.IntN(5) {
				path += "/" + word()
			}
			if path == "" || rng.IntN(3) == 0 {
				path += "/"
			}
			rec := httptest.NewRecorder()
			h, want := mux.Handler(httptest.NewRequest("GET", path, nil))
			h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
			if rec.Code == http.StatusTemporaryRedirect || rec.Code == http.StatusMovedPermanently {
				continue // to where a slash is behind
			}
			if want == "" {
				want = Template(path)
			} else {
				compared++
			}
			if got := r.Of(path); got != want {
				t.Fatalf("%s in %q: got %s, want %s", path, patterns, got, want)
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d paths matched: they prove little", compared)
	}
}

// handles tells whether the pattern does not conflict with those before.
func handles(mux *http.ServeMux, pattern string) (ok bool) {
	defer func() { ok = recover() == nil }()
	mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
	return true
}

func FuzzRoutes(f *testing.F) {
	for _, s := range []string{"/", "", "/orders/4711", "/a/b/c", "//", "/{id}", "/%zz", "/x?y", "/123e4567-e89b-12d3-a456-426614174000", "/a/\xff"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		once := Template(path)
		if twice := Template(once); twice != once {
			t.Errorf("%q: template %q, of that %q", path, once, twice)
		}
		if strings.Count(once, "/") > maxSegments+1 {
			t.Errorf("%q: template %q is too deep", path, once)
		}
		for segment := range strings.SplitSeq(once[1:], "/") {
			if len(segment) > maxWord && segment != placeRest {
				t.Errorf("%q: template %q has a long segment", path, once)
			}
		}
		r, err := NewRoutes(5, pattern, "/orders/{id}")
		if err != nil {
			return
		}
		got := r.Of(path)
		known := got == Other || got == Invalid || got == once || got == "/orders/{id}" || strings.HasSuffix(pattern, got)
		if !known || (got == Invalid) != !strings.HasPrefix(path, "/") {
			t.Errorf("%q in %q: %q", path, pattern, got)
		}
		if again := r.Of(path); again != got {
			t.Errorf("%q: %q, then %q", path, got, again)
		}
	})
}
