package attempt

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/internal/foreign"
)

// Install is what META says of an install from before there is a partition table until all is done. A disk that has it
// was never started since.
type Install struct {
	Version   string    `json:"version,omitempty"` // that is installed
	Image     string    `json:"image"`
	Reference string    `json:"reference,omitempty"`
	Begun     time.Time `json:"begun"`
	Failed    string    `json:"failed,omitempty"` // why it ended; empty: nothing told why
}

// String says what became of the install, for people.
func (i Install) String() string {
	what := i.Version
	if what == "" {
		what = i.Image
	}
	s := fmt.Sprintf("an install of %s that began on %s did not finish", what, i.Begun.Format("2 Jan 2006 15:04 MST"))
	if i.Failed != "" {
		s += ": " + i.Failed
	}
	return s
}

// Encode is what META holds of it.
func (i Install) Encode() ([]byte, error) {
	i.bound()
	return json.Marshal(i)
}

// DecodeInstall reads what META holds. What is no such record is [ErrRecord].
func DecodeInstall(data []byte) (Install, error) {
	var i Install
	if err := json.Unmarshal(data, &i); err != nil {
		return Install{}, errors.Join(err, ErrRecord)
	}
	i.bound()
	return i, nil
}

func (i *Install) bound() {
	i.Failed, i.Reference = foreign.Text(i.Failed, maxReason), foreign.Text(i.Reference, maxReference)
	i.Version, i.Image = foreign.Text(i.Version, maxWord), foreign.Text(i.Image, maxWord)
}
