//go:build guanlan_woven

package kafka

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"guanlan/hook"

	"github.com/guanlan-io/guanlan/sdk"
)

// The module says that it is written in the Go of 2020: nothing newer is used here.

// guanlanHeaders are the headers of a message that go over the wire.
type guanlanHeaders struct{ m *Message }

func (h guanlanHeaders) Get(name string) string {
	for i := range h.m.Headers {
		if h.m.Headers[i].Key == name {
			return string(h.m.Headers[i].Value)
		}
	}
	return ""
}

func (h guanlanHeaders) Keys() []string {
	names := make([]string, len(h.m.Headers))
	for i := range h.m.Headers {
		names[i] = h.m.Headers[i].Key
	}
	return names
}

func (h guanlanHeaders) Set(name, value string) {
	for i := range h.m.Headers {
		if h.m.Headers[i].Key == name {
			h.m.Headers[i].Value = []byte(value)
			return
		}
	}
	h.m.Headers = append(h.m.Headers, Header{Key: name, Value: []byte(value)})
}

// guanlanWrite begins the span of a write, which all of its messages carry. What
// it returns ends it.
func (w *Writer) guanlanWrite(ctx context.Context, msgs *[]Message) func(error) {
	if s := sdk.Default(); len(*msgs) == 0 || s == nil || !s.Enabled() {
		return func(error) {}
	}
	topic := ""
	for i := range *msgs {
		m := &(*msgs)[i]
		of := m.Topic
		if w.Topic != "" {
			of = w.Topic
		}
		if i > 0 && of != topic {
			topic = "" // there is no one destination
			break
		}
		topic = of
	}
	details := sdk.MessageDetails{}
	if len(*msgs) > 1 {
		details.Count = len(*msgs)
	} else {
		details.Size = len((*msgs)[0].Value)
	}
	messaging := sdk.Messaging{System: "kafka", Destination: topic}
	if w.Addr != nil {
		messaging.Server = guanlanOnly(strings.Split(w.Addr.String(), ","))
	}
	if t, ok := w.Transport.(*Transport); ok {
		messaging.Client = t.ClientID
	}
	op := messaging.Send(ctx, details)
	// The messages are the program's, and so are their headers.
	*msgs = append([]Message(nil), *msgs...)
	for i := range *msgs {
		m := &(*msgs)[i]
		m.Headers = append(make([]Header, 0, len(m.Headers)+3), m.Headers...)
		sdk.Propagator{}.Inject(op.Ctx(), guanlanHeaders{m})
	}
	kept := hook.Save() // answers come from goroutines of nobody's
	return func(err error) {
		kept.Restore()
		failure := guanlanFailure(err)
		var ke Error
		if guanlanAs(err, &ke) {
			err = errors.New(ke.Description()) // without the numbers
		}
		op.EndAs(failure, err)
	}
}

// guanlanOnly is the only broker. Of several, nobody knows which one it was.
func guanlanOnly(brokers []string) string {
	if len(brokers) == 1 {
		return brokers[0]
	}
	return ""
}

// guanlanAs is errors.As of the first error of a write.
func guanlanAs(err error, target interface{}) bool {
	var all WriteErrors
	if errors.As(err, &all) {
		for _, one := range all {
			if one != nil {
				return errors.As(one, target)
			}
		}
	}
	return errors.As(err, target)
}

func guanlanFailure(err error) string {
	var ke Error
	var large MessageTooLargeError
	switch {
	case err == nil:
		return ""
	case guanlanAs(err, &ke):
		return strings.ToUpper(strings.Replace(ke.Title(), " ", "_", -1))
	case guanlanAs(err, &large):
		return "MESSAGE_SIZE_TOO_LARGE"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.ErrClosedPipe):
		return "client_closed"
	}
	return "_OTHER"
}

// guanlanFetch is called when the program asks for a message, which ends its work
// on the one before; what it returns, with what it gets.
func (r *Reader) guanlanFetch(ctx context.Context) func(*Message, error) {
	r.guanlan.Next()
	kept, began := hook.Save(), time.Now()
	return func(m *Message, err error) {
		kept.Restore()
		messaging := sdk.Messaging{System: "kafka", Destination: r.config.Topic, Group: r.config.GroupID, Server: guanlanOnly(r.config.Brokers)}
		if r.config.Dialer != nil {
			messaging.Client = r.config.Dialer.ClientID
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
				messaging.Received(0, time.Since(began), err)
			}
			return
		}
		messaging.Destination = m.Topic
		messaging.Received(1, time.Since(began), nil)
		details := sdk.MessageDetails{Partition: strconv.Itoa(m.Partition), Offset: m.Offset, Size: len(m.Value)}
		r.guanlan.Begin(messaging, sdk.Propagator{}.Extract(ctx, guanlanHeaders{m}), details)
	}
}
