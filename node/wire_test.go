package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pawl-os/pawl/upgrade"
)

func TestProgressOnTheWire(t *testing.T) {
	p := wireProgress(upgrade.Event{
		Step: upgrade.StepWrite, File: "os.efi", Bytes: 5, Total: 50,
		Layer: upgrade.Layer{Number: 1, Count: 3, Amount: upgrade.Amount{Bytes: 2, Total: 20, Rate: 1, Left: 18 * time.Second}},
		Whole: upgrade.Amount{Bytes: 2, Total: 30, Rate: 1, Left: 28 * time.Second},
	})
	text, err := protojson.Marshal(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"step":"write","file":"os.efi","bytes":"5","total":"50",
		"layer":{"number":1,"count":3,"amount":{"bytes":"2","total":"20","rate":"1","left":"18s"}},
		"whole":{"bytes":"2","total":"30","rate":"1","left":"28s"}}`, string(text))
	p = wireProgress(upgrade.Event{Step: upgrade.StepClear})
	require.Nil(t, p.Layer)
	require.Nil(t, p.Whole)
}
