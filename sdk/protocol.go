package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Sender transmits the export requests of one signal, as core.Sender does over
// HTTP. The body is the caller's again when Send has returned. Send is called
// by several goroutines at a time. A Sender that is an io.Closer is closed by
// SDK.Shutdown.
type Sender interface {
	Send(ctx context.Context, body []byte, items int) (rejected int, err error)
}

// OpenSender makes the Sender of a signal: traces, metrics or logs. The URL of
// the options has no path that follows from the signal; Client may be nil.
type OpenSender func(signal string, opts core.SenderOptions) (Sender, error)

// Names of protocols, as in OTEL_EXPORTER_OTLP_PROTOCOL.
const (
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// overGRPC is what RegisterGRPC was given. It comes from an init function,
// which may run after that of package auto has called Start.
var overGRPC struct {
	sync.Mutex
	open OpenSender
}

// RegisterGRPC says how to send over gRPC, which this module cannot without
// much that not every service wants. Package otlpgrpc calls it when imported.
func RegisterGRPC(open OpenSender) {
	overGRPC.Lock()
	defer overGRPC.Unlock()
	overGRPC.open = open
}

// errNoGRPC tells how to be able to.
var errNoGRPC = errors.New(`protocol grpc: the program cannot; add import _ "github.com/guanlan-io/guanlan/sdk/otlpgrpc" to it, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf and the endpoint's port for HTTP, usually 4318`)

// exporter is how to send a signal.
type exporter struct {
	protocol, signal string
	none             bool // the signal is not sent
	core.SenderOptions
}

// open is nil for a signal that is not sent.
func (e *exporter) open() (Sender, error) {
	if e.none {
		return nil, nil
	}
	if e.protocol != protocolGRPC {
		return core.NewSender(e.SenderOptions)
	}
	s := &grpcSender{exporter: e}
	if _, err := s.sender(); err != nil && !errors.Is(err, errNoGRPC) {
		return nil, err
	}
	return s, nil
}

// grpcSender waits for RegisterGRPC until it has something to send.
type grpcSender struct {
	*exporter
	mu     sync.Mutex
	opened Sender
	closed bool
}

func (s *grpcSender) sender() (Sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened != nil || s.closed {
		return s.opened, nil
	}
	overGRPC.Lock()
	open := overGRPC.open
	overGRPC.Unlock()
	if open == nil {
		return nil, errNoGRPC
	}
	opened, err := open(s.signal, s.SenderOptions)
	if err != nil {
		return nil, err
	}
	s.opened = opened
	return opened, nil
}

// Send implements Sender.
func (s *grpcSender) Send(ctx context.Context, body []byte, items int) (int, error) {
	sender, err := s.sender()
	if err != nil {
		return 0, err
	}
	if sender == nil {
		return 0, fmt.Errorf("send %s: %w", s.signal, core.ErrClosed)
	}
	return sender.Send(ctx, body, items)
}

// Close implements io.Closer.
func (s *grpcSender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return closeSenders(s.opened)
}

// closeSenders closes those that can be closed.
func closeSenders(senders ...Sender) (err error) {
	for _, s := range senders {
		if c, ok := s.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}
