package sdkgin

import (
	"io"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/guanlan-io/guanlan/sdk"
)

// The answer has the id of the request, unless the handler sets it.
func TestIDs(t *testing.T) {
	defer start(t, 1)()
	var in string
	r := gin.New()
	r.Use(Middleware())
	r.GET("/", func(c *gin.Context) { in = sdk.RequestID(c.Request.Context()) })
	r.GET("/own", func(c *gin.Context) { c.Header("X-Request-ID", "its own") })
	for path, want := range map[string]string{"/": "r-1", "/own": "its own"} {
		req, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		req.Header.Set("X-Request-ID", "r-1")
		r.ServeHTTP(w, req)
		if got := w.Header()["X-Request-Id"]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is answered with request ids %q, want %q", path, got, want)
		}
	}
	if in != "r-1" {
		t.Errorf("the handler finds request id %q", in)
	}
}

// A server that is wrapped streams as gin alone does.
func TestStreamWithinHandler(t *testing.T) {
	defer start(t, 1)()
	r := gin.New()
	r.GET("/", func(c *gin.Context) {
		left := 3
		c.Stream(func(w io.Writer) bool {
			_, _ = io.WriteString(w, "line\n")
			left--
			return left > 0
		})
	})
	server := httptest.NewServer(sdk.Handler(r))
	defer server.Close()
	res, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || string(body) != "line\nline\nline\n" {
		t.Errorf("got %q, error %v", body, err)
	}
}
