//! What keeps a node well: the doctor, who looks at what the node needs and changes nothing, and the vital signs, which
//! are known at any time.

pub mod doctor;
pub mod vitals;
