package ui

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/andybalholm/brotli"
)

func get(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := brotli.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t *testing.T, b []byte) string {
	t.Helper()
	text, err := io.ReadAll(brotli.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func small(t *testing.T) http.Handler {
	t.Helper()
	h, err := newHandler(fstest.MapFS{
		"index.html":          {Data: []byte("<html>")},
		"favicon.svg":         {Data: []byte("<svg/>")},
		"assets/app-1.js.br":  {Data: pack(t, "plain")},
		"assets/tiny-2.css":   {Data: []byte("a{}")},
		"assets/unknown-3.xx": {Data: []byte("?")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRoutes(t *testing.T) {
	h := small(t)
	for _, c := range []struct {
		path, body, mediaType, cache string
		status                       int
	}{
		{"/", "<html>", "text/html; charset=utf-8", cacheNever, 200},
		{"/index.html", "<html>", "text/html; charset=utf-8", cacheNever, 200},
		{"/services/order", "<html>", "text/html; charset=utf-8", cacheNever, 200},
		{"/services/a.b/../c.js", "<html>", "text/html; charset=utf-8", cacheNever, 200},
		{"/favicon.svg", "<svg/>", "image/svg+xml", cacheNever, 200},
		{"/assets/app-1.js", "plain", "text/javascript; charset=utf-8", cacheForever, 200},
		{"/assets/tiny-2.css", "a{}", "text/css; charset=utf-8", cacheForever, 200},
		{"/assets/unknown-3.xx", "?", "application/octet-stream", cacheForever, 200},
		{"/assets/app-0.js", "404 page not found\n", "text/plain; charset=utf-8", "", 404},
		{"/assets/app-1.js.br", "404 page not found\n", "text/plain; charset=utf-8", "", 404},
	} {
		r := get(t, h, "GET", c.path)
		if got := body(t, r); r.StatusCode != c.status || got != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, r.StatusCode, got, c.status, c.body)
		}
		if got := r.Header.Get("Content-Type"); got != c.mediaType {
			t.Errorf("%s: Content-Type %q, want %q", c.path, got, c.mediaType)
		}
		if got := r.Header.Get("Cache-Control"); got != c.cache {
			t.Errorf("%s: Cache-Control %q, want %q", c.path, got, c.cache)
		}
		if got := r.Header.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: Content-Security-Policy %q", c.path, got)
		}
	}
}

func TestEncodings(t *testing.T) {
	h := small(t)
	for _, c := range []struct{ accept, encoding string }{
		{"", ""},
		{"gzip, deflate, br, zstd", "br"},
		{"gzip", ""},
		{"BR;q=0.5", "br"},
		{"br; q=0.0", ""},
		{"identity, *", ""},
		{"br;q=x", ""},
	} {
		r := get(t, h, "GET", "/assets/app-1.js", "Accept-Encoding", c.accept)
		got := body(t, r)
		if r.ContentLength != int64(len(got)) {
			t.Errorf("Accept-Encoding %q: Content-Length %d, want %d", c.accept, r.ContentLength, len(got))
		}
		if c.encoding == "br" {
			got = unpack(t, []byte(got))
		}
		if got != "plain" || r.Header.Get("Content-Encoding") != c.encoding {
			t.Errorf("Accept-Encoding %q: %q as %q, want it as %q", c.accept, got, r.Header.Get("Content-Encoding"), c.encoding)
		}
		if got := r.Header.Get("Vary"); got != "Accept-Encoding" {
			t.Errorf("Vary %q", got)
		}
	}
}

func TestConditional(t *testing.T) {
	h := small(t)
	plain := get(t, h, "GET", "/assets/app-1.js").Header.Get("ETag")
	zipped := get(t, h, "GET", "/assets/app-1.js", "Accept-Encoding", "br").Header.Get("ETag")
	if plain == "" || plain == zipped {
		t.Fatalf("ETags %q and %q of different bytes", plain, zipped)
	}
	r := get(t, h, "GET", "/assets/app-1.js", "If-None-Match", `"other", `+plain)
	if r.StatusCode != http.StatusNotModified || body(t, r) != "" {
		t.Errorf("known ETag: %d", r.StatusCode)
	}
	if r := get(t, h, "GET", "/assets/app-1.js", "If-None-Match", zipped); r.StatusCode != 200 {
		t.Errorf("ETag of another encoding: %d", r.StatusCode)
	}
}

func TestMethods(t *testing.T) {
	h := small(t)
	if r := get(t, h, "HEAD", "/"); r.StatusCode != 200 || body(t, r) != "" || r.ContentLength != 6 {
		t.Errorf("HEAD: %d, length %d", r.StatusCode, r.ContentLength)
	}
	if r := get(t, h, "POST", "/"); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", r.StatusCode, r.Header.Get("Allow"))
	}
}

func TestNoIndex(t *testing.T) {
	if _, err := newHandler(fstest.MapFS{"a.js": {}}); err == nil {
		t.Error("a build without index.html was taken")
	}
}

// The rest is about the build that is committed.

func build(t *testing.T) fs.FS {
	t.Helper()
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func read(t *testing.T, root fs.FS, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(root, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var reference = regexp.MustCompile(`(?:src|href)="/([^"]+)"`)

func TestBuildIndex(t *testing.T) {
	root := build(t)
	index := string(read(t, root, "index.html"))
	refs := reference.FindAllStringSubmatch(index, -1)
	if len(refs) < 2 {
		t.Fatalf("index names %d files", len(refs))
	}
	for _, m := range refs {
		if _, err := fs.Stat(root, m[1]+packed); err != nil {
			read(t, root, m[1])
		}
	}
	// The policy would block scripts and styles that stand in the index.
	for _, tag := range regexp.MustCompile(`<(?:script|style)[^>]*>`).FindAllString(index, -1) {
		if !strings.Contains(tag, "src=") {
			t.Errorf("inline in the index: %s", tag)
		}
	}
	if strings.Contains(index, "style=") {
		t.Error("inline style in the index")
	}
	if m := regexp.MustCompile(`https?://[^"]+`).FindString(index); m != "" {
		t.Errorf("the index names another host: %s", m)
	}
}

func TestBuildCompressed(t *testing.T) {
	for name, f := range walk(t, build(t)) {
		if plain, ok := strings.CutSuffix(name, packed); ok && len(unpack(t, f)) <= len(f) {
			t.Errorf("%s is not smaller than what it holds; run npm run build", plain)
		}
	}
}

// What a browser loads before it shows anything, and all there is, compressed.
const (
	initialBudget = 300 << 10
	totalBudget   = 1000 << 10
)

func TestBuildBudgets(t *testing.T) {
	root := build(t)
	smallest := func(name string) int {
		if b, err := fs.ReadFile(root, name+packed); err == nil {
			return len(b)
		}
		return len(read(t, root, name))
	}
	total := 0
	for _, f := range walk(t, root) {
		total += len(f)
	}
	initial := 0
	for _, m := range reference.FindAllStringSubmatch(string(read(t, root, "index.html")), -1) {
		if strings.HasSuffix(m[1], ".js") {
			initial += smallest(m[1])
		}
	}
	t.Logf("compressed: initial script %d bytes, all %d bytes", initial, total)
	if initial > initialBudget {
		t.Errorf("initial script is %d bytes compressed, at most %d", initial, initialBudget)
	}
	if total > totalBudget {
		t.Errorf("the build is %d bytes compressed, at most %d", total, totalBudget)
	}
}

func walk(t *testing.T, root fs.FS) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[name] = read(t, root, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
