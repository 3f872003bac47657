//! What keeps a node well: for now the doctor, who looks at what the node needs and changes nothing.

pub mod doctor;
