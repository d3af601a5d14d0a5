package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Answers that no API server gives. What a real one does is tested with one: make kube.

const (
	onePod    = `{"metadata": {"uid": "a", "name": "order", "namespace": "shop", "labels": {"app": "order"}}, "status": {"hostIP": "192.0.2.1", "podIP": "10.1.0.5"}}`
	emptyList = `{"metadata": {"resourceVersion": "7"}, "items": []}`
)

// answered follows a server that answers a list and a watch of pods as told, and all else well, until
// it was asked a few times.
func answered(t *testing.T, list, watch func(http.ResponseWriter)) *Cluster {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watches := r.URL.Query().Get("watch") != ""
		pods := strings.HasSuffix(r.URL.Path, "/pods")
		switch {
		case pods && watches:
			watch(w)
		case pods:
			list(w)
		case !watches:
			fmt.Fprint(w, emptyList)
		}
		if watches {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	tries := make(chan struct{})
	c := follow(s.Client(), base, nil, pace{watchFor, func(ctx context.Context, _ int) {
		select {
		case tries <- struct{}{}:
		case <-ctx.Done():
		}
	}})
	t.Cleanup(func() {
		c.Close()
		s.CloseClientConnections()
		s.Close()
	})
	<-c.Tried()
	for range 3 {
		<-tries
	}
	return c
}

// endless writes text again and again until nobody takes it.
func endless(w io.Writer, first, again string) {
	again = strings.Repeat(again, 1000)
	for _, err := io.WriteString(w, first); err == nil; {
		_, err = io.WriteString(w, again)
	}
}

func TestAnswersOfNoAPIServer(t *testing.T) {
	say := func(format string, args ...any) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { fmt.Fprintf(w, format, args...) }
	}
	status := func(code int, text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(code)
			fmt.Fprint(w, text)
		}
	}
	list := say(`{"metadata": {"resourceVersion": "7"}, "items": [%s]}`, onePod)
	for _, f := range []struct {
		what        string
		list, watch func(http.ResponseWriter)
		want        string
		named       string
	}{
		{"a list that breaks off", say(`{"metadata": {"resourceVersion": "7"}, "items": [%s`, onePod), nil, "list: read list: ", "shop/order"},
		{"a list that is none", say(`[]`), nil, "list: read list: not an object", "/"},
		{"a page of a proxy", status(200, "<html>Log in</html>"), nil, "list: read list: invalid character '<'", "/"},
		{"an error of a proxy", status(502, "<html>Bad gateway</html>"), nil, "list: the server answers 502 Bad Gateway: <html>", "/"},
		{"an error without an end", func(w http.ResponseWriter) { w.WriteHeader(500); endless(w, "", "x") }, nil, "list: the server answers 500", "/"},
		{"a list without a version", say(`{"items": [%s]}`, onePod), nil, "list: the answer has no version", "shop/order"},
		{"items that are no list", say(`{"items": 1}`), nil, "items are not a list", "/"},
		{"an object without an end", func(w http.ResponseWriter) { endless(w, `{"items": [{"metadata": {"labels": {"a": "`, "x") }, nil, "an object of more than 16 MB", "/"},
		{"objects before the items without an end", func(w http.ResponseWriter) { endless(w, `{"a": [1`, ",1") }, nil, "an object of more than 16 MB", "/"},
		{"changes that are none", list, say("kept alive\n"), "watch: read change: invalid character 'k'", "shop/order"},
		{"a change without an end", list, func(w http.ResponseWriter) { endless(w, `{"type": "ADDED", "object": {"metadata": {"name": "`, "x") }, "watch: read change: an object of more than 16 MB", "shop/order"},
		{"an error as a change", list, say(`{"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 500, "message": "etcd is ill"}}`), "watch: the server ends the watch: etcd is ill (500)", "shop/order"},
	} {
		t.Run(f.what, func(t *testing.T) {
			t.Parallel()
			c := answered(t, f.list, f.watch)
			if err := c.Err(); err == nil || !strings.Contains(err.Error(), "follow pods: ") || !strings.Contains(err.Error(), f.want) || strings.Count(err.Error(), "follow ") != 1 {
				t.Errorf("got %v, want %q", err, f.want)
			}
			if got := c.named("10.1.0.5"); got != f.named {
				t.Errorf("the pod is %q, want %q", got, f.named)
			}
		})
	}
}

// A watch that ends as soon as it begins is not asked for again and again.
func TestWatchThatEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := follow(&http.Client{Transport: answers(func(r *http.Request) string {
			if r.URL.Query().Get("watch") == "" {
				return emptyList
			}
			asked.Add(1)
			return ""
		})}, &url.URL{Scheme: "http", Host: "cluster"}, nil, pace{watchFor, pause})
		time.Sleep(10 * time.Minute)
		// A pause is 15 s at least, but for the first ones.
		if c.Close(); asked.Load() > int64((10*60/15+10)*len(c.kinds)) {
			t.Errorf("asked %d times in 10 minutes", asked.Load())
		}
	})
}

// Watches that last a while are asked for again at once, however often they are cut.
func TestWatchThatIsCutEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var longest atomic.Int64
		c := follow(&http.Client{Transport: answers(func(r *http.Request) string {
			if r.URL.Query().Get("watch") == "" {
				return emptyList
			}
			time.Sleep(time.Minute)
			return "{"
		})}, &url.URL{Scheme: "http", Host: "cluster"}, nil, pace{watchFor, func(ctx context.Context, failed int) {
			began := time.Now()
			pause(ctx, failed)
			if ctx.Err() == nil {
				longest.Store(max(longest.Load(), int64(time.Since(began)))) // one of two will do
			}
		}})
		time.Sleep(time.Hour)
		if c.Close(); longest.Load() == 0 || longest.Load() > int64(2*pauseFirst) {
			t.Errorf("a pause of %s", time.Duration(longest.Load()))
		}
	})
}

// A list that says nothing is given up.
func TestListThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := follow(&http.Client{Transport: hangs{}}, &url.URL{Scheme: "http", Host: "cluster"}, nil, pace{watchFor, pause})
		time.Sleep(listFor - time.Second)
		if !strings.Contains(c.Err().Error(), "not listed yet") {
			t.Errorf("too early: %v", c.Err())
		}
		time.Sleep(2 * time.Second)
		if !strings.Contains(c.Err().Error(), "follow pods: list: ask cluster: context deadline exceeded") {
			t.Errorf("got %v", c.Err())
		}
		c.Close()
	})
}

type answers func(*http.Request) string

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(f(r))), Request: r}, nil
}

type hangs struct{}

func (hangs) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for failed, want := range map[int]time.Duration{1: pauseFirst, 2: 2 * pauseFirst, 5: 16 * pauseFirst, 8: pauseMost, 1000: pauseMost} {
			for range 100 {
				began := time.Now()
				pause(t.Context(), failed)
				if got := time.Since(began); got < want/2 || got > want*3/2 {
					t.Errorf("after %d tries: %s, want %s and half of it more or less", failed, got, want)
				}
			}
		}
	})
}
