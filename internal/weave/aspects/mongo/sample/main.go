// Orders in MongoDB, with the official driver in both of its major versions:
// commands with the context of the request and without, one that fails as a whole
// and one in parts. The server is a few lines here, which speak the protocol.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"

	bson1 "go.mongodb.org/mongo-driver/bson"
	mongo1 "go.mongodb.org/mongo-driver/mongo"
	options1 "go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go serve(l)
	url := "mongodb://" + l.Addr().String() + "/?directConnection=true"
	client, err := mongo.Connect(options.Client().ApplyURI(url).SetServerAPIOptions(options.ServerAPI(options.ServerAPIVersion1)))
	must(err)
	orders := client.Database("shop").Collection("orders")
	client1, err := mongo1.Connect(context.Background(), options1.Client().ApplyURI(url).SetServerAPIOptions(options1.ServerAPI(options1.ServerAPIVersion1)))
	must(err)
	invoices := client1.Database("shop").Collection("invoices")

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, err := orders.InsertOne(r.Context(), bson.D{{Key: "_id", Value: 7}, {Key: "item", Value: "tea"}})
		must(err)
		var order bson.M
		must(orders.FindOne(r.Context(), bson.D{{Key: "_id", Value: 7}}).Decode(&order))
		slog.InfoContext(r.Context(), "order read", "item", order["item"])
	})
	mux.HandleFunc("GET /invoices/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, err := invoices.InsertOne(r.Context(), bson1.D{{Key: "_id", Value: 7}, {Key: "item", Value: "tea"}})
		must(err)
		var invoice bson1.M
		must(invoices.FindOne(r.Context(), bson1.D{{Key: "_id", Value: 7}}).Decode(&invoice))
	})
	// The context does not come along.
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("counted")
		_, err := orders.DeleteOne(context.Background(), bson.D{{Key: "_id", Value: 7}})
		must(err)
		_, err = invoices.DeleteOne(context.Background(), bson1.D{{Key: "_id", Value: 7}})
		must(err)
	})
	mux.HandleFunc("POST /twice", func(w http.ResponseWriter, r *http.Request) {
		// The server has this one.
		if _, err := orders.InsertOne(r.Context(), bson.D{{Key: "_id", Value: 8}}); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
		if _, err := invoices.InsertOne(r.Context(), bson1.D{{Key: "_id", Value: 8}}); err == nil {
			panic("inserted twice")
		}
	})
	mux.HandleFunc("GET /wrong", func(w http.ResponseWriter, r *http.Request) {
		if err := client.Database("shop").RunCommand(r.Context(), bson.D{{Key: "brew", Value: "tea"}}).Err(); err != nil {
			http.Error(w, "no such command", http.StatusInternalServerError)
		}
		if client1.Database("shop").RunCommand(r.Context(), bson1.D{{Key: "brew", Value: "tea"}}).Err() == nil {
			panic("brewed")
		}
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, c := range [][2]string{{"GET", "/orders/7"}, {"GET", "/invoices/7"}, {"GET", "/blind"}, {"POST", "/twice"}, {"GET", "/wrong"}} {
		req, err := http.NewRequest(c[0], shop.URL+c[1], nil)
		must(err)
		resp, err := http.DefaultClient.Do(req)
		must(err)
		must(resp.Body.Close())
		fmt.Println(c[0], c[1], resp.StatusCode)
	}
}

// serve answers connections.
func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for answer(conn) == nil {
			}
		}()
	}
}

// answer answers one message of the kind OP_MSG.
func answer(conn net.Conn) error {
	const header, flags, opMsg = 16, 4, 2013
	head := make([]byte, header)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	body := make([]byte, binary.LittleEndian.Uint32(head)-header)
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	if op := binary.LittleEndian.Uint32(head[12:]); op != opMsg || body[flags] != 0 {
		return fmt.Errorf("message of kind %d", op)
	}
	size := binary.LittleEndian.Uint32(body[flags+1:])
	reply, err := bson.Marshal(result(bson.Raw(body[flags+1:][:size]), body[flags+1:][size:]))
	if err != nil {
		return err
	}
	out := make([]byte, header+flags+1, header+flags+1+len(reply))
	binary.LittleEndian.PutUint32(out, uint32(cap(out)))
	copy(out[8:12], head[4:8]) // what it is the answer to
	binary.LittleEndian.PutUint32(out[12:], opMsg)
	_, err = conn.Write(append(out, reply...))
	return err
}

// result is what a command gives. documents are those that came beside.
func result(command bson.Raw, documents []byte) bson.D {
	ok := bson.E{Key: "ok", Value: 1}
	elements, err := command.Elements()
	must(err)
	switch name := elements[0].Key(); name {
	case "hello", "ismaster", "isMaster":
		return bson.D{{Key: "isWritablePrimary", Value: true}, {Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48000000},
			{Key: "maxWriteBatchSize", Value: 100000}, {Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 21}, ok}
	case "insert":
		// Kind, size and identifier stand before the document.
		order := bson.Raw(documents[1+4+len("documents")+1:])
		if order.Lookup("_id").AsInt64() == 8 {
			return bson.D{{Key: "n", Value: 0}, {Key: "writeErrors", Value: bson.A{bson.D{{Key: "index", Value: 0}, {Key: "code", Value: 11000}, {Key: "errmsg", Value: "E11000 duplicate key error"}}}}, ok}
		}
		return bson.D{{Key: "n", Value: 1}, ok}
	case "delete":
		return bson.D{{Key: "n", Value: 1}, ok}
	case "find":
		batch := bson.A{bson.D{{Key: "_id", Value: 7}, {Key: "item", Value: "tea"}}}
		return bson.D{{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: batch}, {Key: "id", Value: int64(0)}, {Key: "ns", Value: "shop." + elements[0].Value().StringValue()}}}, ok}
	default:
		return bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: 59}, {Key: "codeName", Value: "CommandNotFound"}, {Key: "errmsg", Value: "no such command: '" + name + "'"}}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
