package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/guanlan-io/guanlan/internal/query"
)

const (
	// keepAlive is how often an idle tail says that it lives: below the 30 s
	// to 60 s after which common proxies cut silent connections.
	keepAlive = 15 * time.Second
	// tailWrite is how long one write to a client may block before the client
	// counts as gone.
	tailWrite = 10 * time.Second
	// tailQueue is how many records wait for the writer. A full queue holds
	// up the engine's Tail, which then skips and counts.
	tailQueue = 256
)

const tailDoc = `Server-sent events. Event ` + "`log`" + ` carries a record that was accepted after the request began, as TailEvent;
event ` + "`problem`" + ` carries the reason why the stream ended, as ErrorModel. Comments keep an idle stream open. When the client
is slow, records are skipped and counted in ` + "`lost`" + `.`

func (d *door) tailRoute() {
	schemas := d.api.OpenAPI().Components.Schemas
	huma.Register(d.api, huma.Operation{
		OperationID: "tailLogs",
		Method:      http.MethodGet,
		Path:        Prefix + "/logs/tail",
		Tags:        []string{"logs"},
		Summary:     "Follow log records",
		Description: tailDoc,
		Errors:      []int{http.StatusServiceUnavailable},
		Responses: map[string]*huma.Response{"200": {
			Description: "Events until the client leaves.",
			Content: map[string]*huma.MediaType{"text/event-stream": {
				Schema: schemas.Schema(reflect.TypeFor[query.TailEvent](), true, ""),
			}},
		}},
	}, func(_ context.Context, in *tailInput) (*huma.StreamResponse, error) {
		if _, err := query.ParseFilter(in.Filter, query.Logs); err != nil {
			return nil, d.problem(context.Background(), err)
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) { d.tail(ctx, in.Filter) }}, nil
	})
}

// tail runs until the client leaves or the engine fails.
func (d *door) tail(hctx huma.Context, filter string) {
	r, w := humago.Unwrap(hctx)
	ctx, stop := context.WithCancel(hctx.Context())
	defer stop()
	events := make(chan query.TailEvent, tailQueue)
	ended := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if p := recover(); p != nil { // Server recovers in its own goroutine only
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			ended <- err
		}()
		err = d.engine.Tail(ctx, filter, func(e query.TailEvent) bool {
			select {
			case events <- e:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	s := sse{w: w, c: http.NewResponseController(w)}
	if s.comment("following") != nil {
		return
	}
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		var err error
		select {
		case e := <-events:
			// One flush for all that waits: a burst costs few packets.
			for more := true; more && err == nil; {
				if err = s.event("log", e); err != nil {
					break
				}
				select {
				case e = <-events:
				default:
					more = false
				}
			}
			if err == nil {
				err = s.flush()
			}
		case <-alive.C:
			err = s.comment("alive")
		case err = <-ended:
			if err == nil || r.Context().Err() != nil {
				return
			}
			var problem *huma.ErrorModel
			if errors.As(d.problem(ctx, err), &problem) && s.event("problem", problem) == nil {
				// Nothing is left to do when the last flush fails.
				_ = s.flush()
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// sse writes server-sent events. Not safe for concurrent use.
type sse struct {
	w   http.ResponseWriter
	c   *http.ResponseController
	buf bytes.Buffer
}

func (s *sse) comment(text string) error {
	if err := s.write([]byte(": " + text + "\n\n")); err != nil {
		return err
	}
	return s.flush()
}

func (s *sse) event(name string, data any) error {
	s.buf.Reset()
	s.buf.WriteString("event: " + name + "\ndata: ")
	enc := json.NewEncoder(&s.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil { // ends the line
		return err
	}
	s.buf.WriteByte('\n')
	return s.write(s.buf.Bytes())
}

func (s *sse) write(p []byte) error {
	// Writers in tests have no deadlines; servers' do.
	if err := s.c.SetWriteDeadline(time.Now().Add(tailWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := s.w.Write(p)
	return err
}

func (s *sse) flush() error { return s.c.Flush() }
