package api

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/semconv"
	"github.com/guanlan-io/guanlan/internal/store"
)

// TenantHeader names the tenant of a request; see store.ParseTenant.
const TenantHeader = semconv.TenantHeader

// withTenant puts the tenant of a request in its context.
func withTenant(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get(TenantHeader)
		tenant, err := store.ParseTenant(header)
		if err != nil {
			writeProblem(w, http.StatusUnprocessableEntity, "header "+TenantHeader+" cannot be understood",
				detail("header."+TenantHeader, header, err.Error(), "for example 12 or 12:3"))
			return
		}
		next.ServeHTTP(w, r.WithContext(query.WithTenant(r.Context(), tenant)))
	})
}

// gate lets a number of requests in at a time. Others are turned away at
// once: a queue would only make clients that retry wait longer.
type gate chan struct{}

func newGate(n int) gate { return make(gate, n) }

func (g gate) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case g <- struct{}{}:
			defer func() { <-g }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusServiceUnavailable, "too many requests are being answered; try again shortly")
		}
	})
}

// untilClosing ends requests that would not end by themselves.
func (s *Server) untilClosing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.closing, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// policy lets pages load nothing from other hosts. Styles may be inline: the
// editor and the menus of the UI make some while they run.
const policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

// addressed guards a server on a loopback address against DNS rebinding: a
// page from elsewhere whose name was made to resolve to this machine sends
// that name as Host.
func (s *Server) addressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.loopback.Load() && !s.knows(r.Host) {
			writeProblem(w, http.StatusForbidden, "host "+r.Host+" is not a name of this server; call it by 127.0.0.1 or localhost, or add the name to its allowed hosts")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) knows(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || s.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// recovered turns a panic into an answer with an id that the log has too. An
// answer that has begun is cut off, so that nobody takes it for whole.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := &beginning{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			id := rand.Text()
			s.log.ErrorContext(r.Context(), "recover from a panic", "id", id, "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if begun.yes {
				panic(http.ErrAbortHandler)
			}
			w.Header().Del("Content-Encoding")
			writeProblem(w, http.StatusInternalServerError, "internal error; the log has it under id "+id)
		}()
		next.ServeHTTP(begun, r)
	})
}

// beginning notes whether an answer has begun.
type beginning struct {
	http.ResponseWriter
	yes bool
}

func (b *beginning) WriteHeader(status int) {
	b.yes = b.yes || status >= 200 // informational ones are no answer yet
	b.ResponseWriter.WriteHeader(status)
}

func (b *beginning) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which gRPC asks for.
func (b *beginning) Flush() {
	b.yes = true
	// Writers of net/http can flush; one that cannot loses nothing but speed.
	_ = http.NewResponseController(b.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (b *beginning) Unwrap() http.ResponseWriter { return b.ResponseWriter }
