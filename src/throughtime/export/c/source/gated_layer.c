/* A layer of gates. Its weights lie by blocks of units, in the order in which they are read: of
   each block the gates' biases (with zeros at the end of a block that is not full), then a row
   for each input, then, where the gates read the state, a row for each unit. A row has the first
   gate of the block's units, then the second, and so on. */
typedef struct {
    int inputs, units;
    const float *weights;
} gated_layer;
